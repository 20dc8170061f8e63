"""Check the options, choose the toolchain that measures, and limit how long a measurement takes."""
