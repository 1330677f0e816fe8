// Scratch memory: uninitialised, aligned to a cache line, gone with its owner.
#ifndef LSTM_IMPL_NATIVE_MEMORY_H_
#define LSTM_IMPL_NATIVE_MEMORY_H_

#include <memory>
#include <new>

#include "vector.h"

namespace lstm_impl {

class Floats {
 public:
  // Throws std::bad_alloc if there is not that much.
  explicit Floats(Index count)
      : data_(static_cast<float*>(
            ::operator new(static_cast<std::size_t>(count) * sizeof(float), kLine))) {}

  float* get() const { return data_.get(); }

 private:
  static constexpr std::align_val_t kLine{64};
  struct Free {
    void operator()(float* data) const { ::operator delete(data, kLine); }
  };
  std::unique_ptr<float, Free> data_;
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_MEMORY_H_
