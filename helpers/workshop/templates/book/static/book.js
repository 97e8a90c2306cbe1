// The book theme does the rest.
