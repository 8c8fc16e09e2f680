"""Word lists of the language package: plain data, no behaviour beyond splitting the lists."""
