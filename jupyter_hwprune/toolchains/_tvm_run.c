/* Run a library that TVM compiled, once, and write its outputs: `run LIBRARY ARGUMENTS OUTPUTS`.
 *
 * For a machine without Python, such as one that qemu plays. ARGUMENTS holds a count, and then each value as five
 * numbers of 64 bits (1 for a tensor or 0 for a shape; DLPack's code, bits, and dimensions; bytes that follow), its
 * dimensions, and its bytes. OUTPUTS has the same form.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tvm/ffi/c_api.h>

static void check(int failed) {
  TVMFFIObjectHandle error;
  if (!failed) return;
  TVMFFIErrorMoveFromRaised(&error);
  TVMFFIByteArray said = ((TVMFFIErrorCell*)((char*)error + sizeof(TVMFFIObject)))->message;
  fprintf(stderr, "%.*s\n", (int)said.size, said.data);
  exit(1);
}

static TVMFFIAny integer(int64_t value) { return (TVMFFIAny){.type_index = kTVMFFIInt, .v_int64 = value}; }

static TVMFFIAny text(const char* value) { return (TVMFFIAny){.type_index = kTVMFFIRawStr, .v_c_str = value}; }

static TVMFFIAny call(TVMFFIObjectHandle function, int count, TVMFFIAny* arguments) {
  TVMFFIAny result = {.type_index = kTVMFFINone};
  check(TVMFFIFunctionCall(function, arguments, count, &result));
  return result;
}

static TVMFFIAny call_global(const char* name, int count, TVMFFIAny* arguments) {
  TVMFFIObjectHandle function;
  TVMFFIByteArray named = {name, strlen(name)};
  check(TVMFFIFunctionGetGlobal(&named, &function));
  return call(function, count, arguments);
}

static TVMFFIAny call_method(TVMFFIAny module, const char* name, int count, TVMFFIAny* arguments) {
  TVMFFIAny asked[] = {module, text(name), {.type_index = kTVMFFIBool, .v_int64 = 1}};
  return call(call_global("ffi.ModuleGetFunction", 3, asked).v_obj, count, arguments);
}

static void* read_bytes(FILE* file, size_t size) {
  void* bytes = aligned_alloc(64, (size / 64 + 1) * 64);
  if (bytes == NULL || fread(bytes, 1, size, file) != size) exit(2);
  return bytes;
}

static TVMFFIAny read_value(FILE* file) {
  int64_t* head = read_bytes(file, 5 * sizeof(int64_t));
  int64_t* dimensions = read_bytes(file, head[3] * sizeof(int64_t));
  if (!head[0]) {
    TVMFFIAny each[16];
    for (int64_t i = 0; i < head[3]; i++) each[i] = integer(dimensions[i]);
    return call_global("ffi.Shape", head[3], each);
  }
  DLManagedTensor* tensor = calloc(1, sizeof(DLManagedTensor));
  tensor->dl_tensor.data = read_bytes(file, head[4]);
  tensor->dl_tensor.device = (DLDevice){kDLCPU, 0};
  tensor->dl_tensor.ndim = head[3];
  tensor->dl_tensor.dtype = (DLDataType){head[1], head[2], 1};
  tensor->dl_tensor.shape = dimensions;
  TVMFFIObjectHandle handle;
  check(TVMFFITensorFromDLPack(tensor, 64, 1, &handle));
  return (TVMFFIAny){.type_index = kTVMFFITensor, .v_obj = handle};
}

static void write_value(FILE* file, TVMFFIAny value) {
  DLTensor* tensor = (DLTensor*)((char*)value.v_obj + sizeof(TVMFFIObject));
  int64_t size = (tensor->dtype.bits + 7) / 8;
  for (int i = 0; i < tensor->ndim; i++) size *= tensor->shape[i];
  int64_t head[] = {1, tensor->dtype.code, tensor->dtype.bits, tensor->ndim, size};
  fwrite(head, sizeof(int64_t), 5, file);
  fwrite(tensor->shape, sizeof(int64_t), tensor->ndim, file);
  fwrite((char*)tensor->data + tensor->byte_offset, 1, size, file);
}

int main(int count, char** words) {
  FILE* file = count == 4 ? fopen(words[2], "rb") : NULL;
  if (file == NULL) return 2;
  TVMFFIAny path = text(words[1]);
  TVMFFIAny library = call_global("ffi.ModuleLoadFromFile", 1, &path);
  TVMFFIAny machine = call_method(library, "vm_load_executable", 0, NULL);
  TVMFFIAny on_cpu[] = {integer(kDLCPU), integer(0), integer(2)}; /* memory is pooled */
  call_method(machine, "vm_initialization", 3, on_cpu);
  int64_t* given = read_bytes(file, sizeof(int64_t));
  TVMFFIAny* arguments = calloc(*given + 1, sizeof(TVMFFIAny));
  for (int64_t i = 0; i < *given; i++) arguments[i] = read_value(file);
  fclose(file);
  TVMFFIAny result = call_method(machine, "main", *given, arguments);
  int64_t outputs = result.type_index == kTVMFFIArray ? call_global("ffi.ArraySize", 1, &result).v_int64 : 1;
  file = fopen(words[3], "wb");
  if (file == NULL) return 2;
  fwrite(&outputs, sizeof(int64_t), 1, file);
  for (int64_t i = 0; i < outputs; i++) {
    TVMFFIAny at[] = {result, integer(i)};
    write_value(file, result.type_index == kTVMFFIArray ? call_global("ffi.ArrayGetItem", 2, at) : result);
  }
  return fclose(file);
}
