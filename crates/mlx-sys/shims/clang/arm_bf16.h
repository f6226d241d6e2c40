// Stands in for clang's header of this name, which bindgen's libclang may lack: mlx-c's half.h needs
// none of its functions.
