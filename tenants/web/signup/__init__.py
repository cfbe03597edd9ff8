"""The pages from the first visit to the served shop: landing, sign-up, live progress, result."""
