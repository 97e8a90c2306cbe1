"""What the lessons stand on and a learner need not enter: paths, the mode, the device, interruptions."""
