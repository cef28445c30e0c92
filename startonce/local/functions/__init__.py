"""Lambda: what runs functions, tries events again, and answers the API."""
