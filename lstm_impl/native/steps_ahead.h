// Computes the input's products of several steps at once. With few sequences, this gives full
// tiles, and the kernel is read once for all of these steps.
#ifndef LSTM_IMPL_NATIVE_STEPS_AHEAD_H_
#define LSTM_IMPL_NATIVE_STEPS_AHEAD_H_

#include <algorithm>
#include <optional>

#include "kernels.h"
#include "memory.h"
#include "plan.h"
#include "vector.h"

namespace lstm_impl {

class StepsAhead {
 public:
  // Returns for how many steps this pays. From 12 sequences on, a step has full tiles of its own,
  // and the product of h continues in the same registers.
  static Index usual(const Layer& layer) {
    constexpr Index kFull = 12, kRowsAhead = 48;
    if (layer.batch >= kFull) return 1;
    return std::min(layer.timesteps, blocks_of(kRowsAhead, layer.batch));
  }

  StepsAhead(const Layer& layer, Index steps) : layer_(layer), steps_(steps) {
    if (any()) sums_.emplace(unit_blocks(layer) * steps * layer.batch * kPanel);
  }

  bool any() const { return steps_ > 1; }
  bool begin(Index s) const { return any() && s % steps_ == 0; }

  // Return how many of these steps begin with step `s`, and the first of them in time.
  Index count(Index s) const { return std::min(steps_, layer_.timesteps - s); }
  Index first(Index s) const { return layer_.reverse ? layer_.timesteps - s - count(s) : s; }

  // Their rows: how many, and the first one of all rows.
  Index rows(Index s) const { return layer_.first_row(first(s) + count(s)) - first_row(s); }
  Index first_row(Index s) const { return layer_.first_row(first(s)); }

  // Returns the sums of all of them, [time][batch][gate][lane].
  float* sums(Index block) const { return sums_->get() + block * steps_ * layer_.batch * kPanel; }

  const float* sums(Index s, Index row, Index block) const {
    const Index before = layer_.first_row(time_of(layer_, s)) - first_row(s - s % steps_);
    return sums(block) + (before + row) * kPanel;
  }

 private:
  const Layer& layer_;
  const Index steps_;
  std::optional<Floats> sums_;
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_STEPS_AHEAD_H_
