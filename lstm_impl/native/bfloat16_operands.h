// What the products of a forward pass read, and how they are computed, in bfloat16. This serves
// layers that are stored in bfloat16, and layers of float that allow products in bfloat16. Sums are
// floats.
#ifndef LSTM_IMPL_NATIVE_BFLOAT16_OPERANDS_H_
#define LSTM_IMPL_NATIVE_BFLOAT16_OPERANDS_H_

#include <algorithm>
#include <optional>
#include <type_traits>

#include "bfloat16_products.h"
#include "cell.h"
#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "paired_operands.h"
#include "plan.h"
#include "steps.h"
#include "vector.h"

namespace lstm_impl {

// Rows of left operands, [row][number]. Each row is padded with zeros to `width` numbers.
template <class Left>
class LeftRows {
 public:
  LeftRows(Index rows, Index width)
      : width_(width),
        memory_(blocks_of(std::max<Index>(1, rows) * width * static_cast<Index>(sizeof(Left)),
                          sizeof(float))) {}

  Index width() const { return width_; }
  Index across() const { return width_; }  // from one row to the next
  Left* row(Index number) const { return reinterpret_cast<Left*>(memory_.get()) + number * width_; }

 private:
  const Index width_;
  const Floats memory_;
};

// Holds h between the steps: as the left operand of the next step's product and, where this operand
// is rounded, also as the state that is carried on.
template <class ValueType, class WeightType, class Dots>
class Bfloat16Hidden {
 public:
  using Value = ValueType;
  using Weight = WeightType;
  using Products = BFloat16;
  static constexpr bool kReadsPadding = true;
  using Left = typename Dots::Left;

  explicit Bfloat16Hidden(const Forward<Value, Weight>& call)
      : call_(call),
        layer_(call.layer),
        lefts_(2 * layer_.batch, Dots::row_width(layer_.units)),
        floats_(kRounds<Value> ? 0 : 2 * layer_.batch * lefts_.width()) {}

  void begin() const {
    for (Index b = 0; b < layer_.batch; ++b) {
      const Value* h = call_.h0 + b * layer_.units;
      const bool zeros = forgets_initial(layer_, call_.mask, b);
      for (Index unit = 0; unit < lefts_.width(); unit += kLanes) {
        const Index count = layer_.units - unit;
        at(-1).carry(b, unit, count > 0 && !zeros ? load_part(h + unit, count) : Vector{});
        if (count <= 0) at(0).carry(b, unit, Vector{});  // padding, which no step writes
      }
    }
  }

  Left* left(Index s, Index row) const { return lefts_.row((s + 1) % 2 * layer_.batch + row); }
  Index width() const { return lefts_.width(); }

  LSTM_IMPL_INLINE bool differs_from_y() const { return true; }

  // Stores h after one step. `count` lanes of its registers are units.
  struct Step {
    Left* lefts;
    float* floats;  // null where the left operands are h itself
    Value* kept;    // [batch, units], or null
    Index width, units;

    LSTM_IMPL_INLINE Vector read(Index row, Index unit, Index) const {
      if constexpr (kRounds<Value>) return load(lefts + row * width + unit);
      return load(floats + row * width + unit);
    }

    LSTM_IMPL_INLINE void keep(Index row, Index unit, Index count, Vector h) const {
      carry(row, unit, h);
      if (kept != nullptr) store_part(kept + row * units + unit, h, count);
    }

    LSTM_IMPL_INLINE void carry(Index row, Index unit, Vector h) const {
      if constexpr (!kRounds<Value>) {
        store(floats + row * width + unit, h);
        h = rounded<BFloat16>(h);
      }
      Dots::store_left(lefts + row * width + unit, h);
    }
  };

  LSTM_IMPL_INLINE Step at(Index s) const {
    Value* kept = nullptr;
    if (call_.hidden != nullptr && s >= 0) {
      kept = call_.hidden + time_of(layer_, s) * layer_.batch * layer_.units;
    }
    return {left(s, 0), kRounds<Value> ? nullptr : floats(s, 0), kept, lefts_.width(),
            layer_.units};
  }

  void copy(Index s, Index row, Value* to) const {
    if constexpr (kRounds<Value>) {
      copy_row(left(s, row), layer_.units, to);
    } else {
      copy_row(floats(s, row), layer_.units, to);
    }
  }

 private:
  float* floats(Index s, Index row) const {
    return floats_.get() + ((s + 1) % 2 * layer_.batch + row) * lefts_.width();
  }

  const Forward<Value, Weight>& call_;
  const Layer& layer_;
  const LeftRows<Left> lefts_;  // of two steps
  const Floats floats_;
};

// The operands of a forward pass whose factors are rounded to bfloat16. Dots says how the numbers
// are multiplied; see bfloat16_products.h.
template <class Cell, class Value, class Weight, class Dots>
class Bfloat16Operands : public PairedOperands<Cell, Dots, Bfloat16Hidden<Value, Weight, Dots>,
                                               LeftRows<typename Dots::Left>> {
  using Base = PairedOperands<Cell, Dots, Bfloat16Hidden<Value, Weight, Dots>,
                              LeftRows<typename Dots::Left>>;

 public:
  Bfloat16Operands(const Forward<Value, Weight>& call, const Pool& pool)
      : Base(call, pool, Dots::row_width(call.layer.inputs)) {
    if constexpr (Cell::kStages > 1) reset_.emplace(layer_.batch, hidden_.width());
  }

  void begin() const {
    hidden_.begin();
    if constexpr (Cell::kStages > 1) {
      for (Index b = 0; b < layer_.batch; ++b) {  // padding, which no step writes
        std::fill(reset_->row(b) + layer_.units, reset_->row(b) + reset_->width(), Left{});
      }
    }
  }

  void pack(int part, int parts) const {
    this->pack_weights(part, parts);
    this->pack_inputs(part, parts, [&](Index row, Index at, Vector x) {
      Dots::store_left(inputs_.row(row) + at, rounded<BFloat16>(x));
    });
  }

  struct Lefts {};
  template <int Stage>
  Lefts read(Index, Index, Index) const {
    return {};
  }

  void look_ahead(Index s, Index block, Index) const {
    this->project(ahead_.sums(block), ahead_.first_row(s), ahead_.rows(s), block);
  }

  // See FloatOperands.
  template <int Stage, class Finish>
  LSTM_IMPL_INLINE void multiply(const Lefts&, Index s, Index first_row, Index last_row,
                                 Index block, Index, const Finish& finish) const {
    this->with_sums(first_row, last_row, block, [&](float* sums, Index rows, Index row) {
      const Factors<Left> of_state{Stage == 0 ? hidden_.left(s - 1, row) : reset_->row(row),
                                   hidden_.width(), this->recurrent_panel(block), unit_pairs_};
      const float* more =
          this->template multiply_rows<Stage>(sums, s, row, rows, block, of_state);
      finish(sums, rows, row, more);
    });
  }

  // Keeps the h that a gate has reset, for the next stage to multiply.
  LSTM_IMPL_INLINE void keep_reset(Index row, Index unit, Index, Vector h) const {
    Dots::store_left(reset_->row(row) + unit, rounded<BFloat16>(h));
  }

 private:
  using Base::ahead_;
  using Base::hidden_;
  using Base::inputs_;
  using Base::layer_;
  using Base::unit_pairs_;
  using typename Base::Left;

  std::optional<LeftRows<Left>> reset_;  // [batch], of a cell with two stages
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BFLOAT16_OPERANDS_H_
