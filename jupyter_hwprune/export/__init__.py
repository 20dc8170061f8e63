"""Export a torch model to files for a toolchain: ONNX, or an ExportedProgram, both with the layers' names."""
