#pragma once

#include "core/check.h"
#include "core/dtype.h"

namespace smore::cuda {

template <DType kType>
struct StoredAs {
  static constexpr DType value = kType;
};

// Calls fn with the type of a matrix as a constant.
template <class Fn>
void with_type(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::kF32:
      return fn(StoredAs<DType::kF32>{});
    case DType::kF16:
      return fn(StoredAs<DType::kF16>{});
    case DType::kBF16:
      return fn(StoredAs<DType::kBF16>{});
    case DType::kQ8_0:
      return fn(StoredAs<DType::kQ8_0>{});
    case DType::kQ4_0:
      return fn(StoredAs<DType::kQ4_0>{});
    case DType::kQ4_1:
      return fn(StoredAs<DType::kQ4_1>{});
    case DType::kQ5_0:
      return fn(StoredAs<DType::kQ5_0>{});
    case DType::kQ5_1:
      return fn(StoredAs<DType::kQ5_1>{});
    case DType::kQ4_K:
      return fn(StoredAs<DType::kQ4_K>{});
    case DType::kQ5_K:
      return fn(StoredAs<DType::kQ5_K>{});
    case DType::kQ6_K:
      return fn(StoredAs<DType::kQ6_K>{});
    case DType::kI32:
      break;
  }
  SMORE_CHECK(false, "a matrix of integers");
}

}  // namespace smore::cuda
