// Holds h between the steps of a forward pass whose products are products of floats.
#ifndef LSTM_IMPL_NATIVE_FLOAT_HIDDEN_H_
#define LSTM_IMPL_NATIVE_FLOAT_HIDDEN_H_

#include <algorithm>
#include <optional>

#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "plan.h"
#include "steps.h"
#include "vector.h"

namespace lstm_impl {

template <class ValueType, class WeightType>
class FloatHidden {
 public:
  using Value = ValueType;
  using Weight = WeightType;
  using Products = Value;  // what decides how exact the gates need to be

  // Whether products read the lanes past the units.
  static constexpr bool kReadsPadding = false;

  explicit FloatHidden(const Forward<Value, Weight>& call)
      : call_(call), layer_(call.layer), y_(rows_of(layer_, call.y, layer_.units)) {
    if (kRounds<Value> || (call.mask != nullptr && call.hidden == nullptr)) {
      states_.emplace(2 * layer_.batch * layer_.units);
    }
    if (!kRounds<Value> && any_forgets_initial(layer_, call.mask)) {
      first_.emplace(layer_.batch * layer_.units);
    }
  }

  void begin() const {
    if (!kRounds<Value> && !first_) return;
    copy_row(call_.h0, layer_.batch * layer_.units, rows(-1).data);
    for (Index b = 0; b < layer_.batch; ++b) {
      if (forgets_initial(layer_, call_.mask, b)) std::fill_n(rows(-1).at(0, b), layer_.units, 0.0f);
    }
  }

  // Returns h after step `s` as floats. Before the first step, this is the initial state.
  Rows<float> rows(Index s) const {
    const Index size = layer_.batch * layer_.units;
    if constexpr (!kRounds<Value>) {
      if (s < 0) return {first_ ? first_->get() : const_cast<float*>(call_.h0), 0, layer_.units};
      const Index t = time_of(layer_, s);
      if (call_.mask == nullptr) return {y_.at(t), 0, y_.batch};
      if (call_.hidden != nullptr) return {call_.hidden + t * size, 0, layer_.units};
    }
    return {states_->get() + ((s + 1) % 2) * size, 0, layer_.units};
  }

  // Returns whether h and the output are different numbers or in different places.
  LSTM_IMPL_INLINE bool differs_from_y() const { return kRounds<Value> || call_.mask != nullptr; }

  // Stores h after one step. `count` lanes of its registers are units.
  struct Step {
    Rows<float> rows;
    Value* kept;  // where numbers that are not floats are kept, [batch, units], or null
    Index units;

    LSTM_IMPL_INLINE Vector read(Index row, Index unit, Index count) const {
      return load_part(rows.at(0, row) + unit, count);
    }

    LSTM_IMPL_INLINE void keep(Index row, Index unit, Index count, Vector h) const {
      store_part(rows.at(0, row) + unit, h, count);
      if constexpr (kRounds<Value>) {
        if (kept != nullptr) store_part(kept + row * units + unit, h, count);
      }
    }
  };

  LSTM_IMPL_INLINE Step at(Index s) const {
    Value* kept = nullptr;
    if (kRounds<Value> && call_.hidden != nullptr && s >= 0) {
      kept = call_.hidden + time_of(layer_, s) * layer_.batch * layer_.units;
    }
    return {rows(s), kept, layer_.units};
  }

  void copy(Index s, Index row, Value* to) const { copy_row(rows(s).at(0, row), layer_.units, to); }

 private:
  const Forward<Value, Weight>& call_;
  const Layer& layer_;
  const Rows<Value> y_;
  std::optional<Floats> states_;  // h of two steps, where it is not kept as floats
  std::optional<Floats> first_;   // h before the first step, where that is not the initial state
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_FLOAT_HIDDEN_H_
