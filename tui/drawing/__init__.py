"""From the lines that Textual composes to the fewest bytes that make a terminal show them."""
