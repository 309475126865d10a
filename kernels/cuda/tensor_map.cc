#include "kernels/cuda/tensor_map.h"

#include "kernels/cuda/packed_layout.h"

namespace r1::kernels {
namespace {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// The driver's own function, found at run time: programs here do not link the driver.
EncodeTiled FindEncodeTiled() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  constexpr unsigned kSinceVersion = 12000;
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kSinceVersion,
                                       cudaEnableDefault, &found) != cudaSuccess ||
      found != cudaDriverEntryPointSuccess)
    return nullptr;
  return reinterpret_cast<EncodeTiled>(function);
}

cudaError_t Encode(__nv_bfloat16* matrix, int rows, int columns, int64_t stride, int box_rows,
                   int box_columns, CUtensorMapSwizzle swizzle, CUtensorMap* map) {
  static const EncodeTiled encode = FindEncodeTiled();
  if (encode == nullptr) return cudaErrorNotSupported;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t stride_bytes[] = {static_cast<cuuint64_t>(stride) * sizeof(__nv_bfloat16)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(box_columns),
                            static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t element_strides[] = {1, 1};
  const CUresult result =
      encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, matrix, sizes, stride_bytes, box,
             element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace

cudaError_t MakeTensorMap(const __nv_bfloat16* matrix, int rows, int columns, int64_t stride,
                          int box_rows, CUtensorMap* map) {
  return Encode(const_cast<__nv_bfloat16*>(matrix), rows, columns, stride, box_rows,
                kPackedBlockColumns, CU_TENSOR_MAP_SWIZZLE_128B, map);
}

cudaError_t MakeStoreMap(__nv_bfloat16* matrix, int rows, int columns, int64_t stride,
                         int box_columns, CUtensorMap* map) {
  constexpr int kBoxRows = 8;
  return Encode(matrix, rows, columns, stride, kBoxRows, box_columns,
                box_columns == 64 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B, map);
}

}  // namespace r1::kernels
