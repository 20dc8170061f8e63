"""From a torch model to files for a toolchain: ONNX, or an ExportedProgram, with layers' names in them."""
