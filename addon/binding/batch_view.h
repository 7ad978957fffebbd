#pragma once

#include <napi.h>

#include <vector>

#include "engine/step.h"

namespace smore {

// The arrays of one StepBatch as the engine sees them. Holds references to the typed arrays, so the
// pointers stay valid as long as TypeScript does not detach their buffer.
class BatchView {
 public:
  // Throws Error(kInvalidArgument) that names the array whose type or length is not what `limits`
  // ask.
  BatchView(Napi::Object arrays, const StepLimits& limits);

  const StepInput& input() const { return input_; }
  const StepOutput& output() const { return output_; }

 private:
  template <class T>
  T* take(Napi::Object arrays, const char* name, size_t length);

  StepInput input_{};
  StepOutput output_{};
  std::vector<Napi::Reference<Napi::TypedArray>> held_;
};

}  // namespace smore
