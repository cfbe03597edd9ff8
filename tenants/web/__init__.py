"""The pages for people: sign-up and console, their templates and template tags."""
