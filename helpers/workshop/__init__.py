"""For those who maintain the series: what makes, times, runs and ships it. No lesson imports it."""
