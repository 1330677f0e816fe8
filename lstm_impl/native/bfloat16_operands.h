// What the products of a forward pass read and how they are made, in bfloat16: of layers that are
// kept in it, and of layers of float whose products may be. Sums are of floats.
#ifndef LSTM_IMPL_NATIVE_BFLOAT16_OPERANDS_H_
#define LSTM_IMPL_NATIVE_BFLOAT16_OPERANDS_H_

#include <algorithm>

#include "bfloat16_products.h"
#include "cell.h"
#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "panels.h"
#include "plan.h"
#include "product.h"
#include "steps_ahead.h"
#include "vector.h"

namespace lstm_impl {

// Rows of left operands, [row][number], each padded with zeros to `width` numbers.
template <class Left>
class LeftRows {
 public:
  LeftRows(Index rows, Index width)
      : width_(width),
        memory_(blocks_of(std::max<Index>(1, rows) * width * static_cast<Index>(sizeof(Left)),
                          sizeof(float))) {}

  Index width() const { return width_; }
  Left* row(Index number) const { return reinterpret_cast<Left*>(memory_.get()) + number * width_; }

 private:
  const Index width_;
  const Floats memory_;
};

// Where h is between the steps: as the left operand of the next step's product and, where that is
// rounded, as it is carried on.
template <class ValueType, class WeightType, class Dots>
class Bfloat16Hidden {
 public:
  using Value = ValueType;
  using Weight = WeightType;
  using Products = BFloat16;
  using Left = typename Dots::Left;

  explicit Bfloat16Hidden(const Forward<Value, Weight>& call)
      : call_(call),
        layer_(call.layer),
        lefts_(2 * layer_.batch, Dots::row_width(layer_.units)),
        floats_(kRounds<Value> ? 0 : 2 * layer_.batch * lefts_.width()) {}

  void begin() const {
    for (Index b = 0; b < layer_.batch; ++b) {
      const Value* h = call_.h0 + b * layer_.units;
      for (Index unit = 0; unit < lefts_.width(); unit += kLanes) {
        const Index count = layer_.units - unit;
        at(-1).carry(b, unit, count > 0 ? load_part(h + unit, count) : Vector{});
        if (count <= 0) at(0).carry(b, unit, Vector{});  // padding, which no step writes
      }
    }
  }

  Left* left(Index s, Index row) const { return lefts_.row((s + 1) % 2 * layer_.batch + row); }
  Index width() const { return lefts_.width(); }

  LSTM_IMPL_INLINE bool differs_from_y() const { return true; }

  // h after one step, in registers of which `count` lanes are units.
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

// Dots: how the numbers are multiplied, see bfloat16_products.h.
template <class Cell, class Value, class Weight, class Dots>
class Bfloat16Operands {
 public:
  static_assert(Cell::kStages == 1);
  using Hidden = Bfloat16Hidden<Value, Weight, Dots>;
  static constexpr void (*release)() = Dots::release;

  Bfloat16Operands(const Forward<Value, Weight>& call, const Pool& pool)
      : call_(call),
        layer_(call.layer),
        plan_(Dots::plan(layer_, layer_.inputs + layer_.units, pool)),
        blocks_(unit_blocks(layer_)),
        input_pairs_(pairs_of(layer_.inputs)),
        unit_pairs_(pairs_of(layer_.units)),
        given_(rows_of(layer_, call.x, layer_.inputs)),
        kernel_(blocks_ * input_pairs_ * kPanel),
        recurrent_(blocks_ * unit_pairs_ * kPanel),
        bias_(blocks_ * kPanel),
        inputs_(layer_.timesteps * layer_.batch, Dots::row_width(layer_.inputs)),
        hidden_(call),
        ahead_(layer_, Dots::steps_ahead(layer_, plan_)) {}

  const Plan& plan() const { return plan_; }
  const Hidden& hidden() const { return hidden_; }
  const StepsAhead& ahead() const { return ahead_; }

  void begin() const { hidden_.begin(); }

  void pack(int part, int parts) const {
    const Index first = share(blocks_, part, parts), last = share(blocks_, part + 1, parts);
    const Weights<Weight>& weights = call_.weights;
    const Index units = layer_.units;
    pack_pairs<Dots, typename Cell::OfInput, Cell::kGates>(
        weights.kernel, layer_.inputs, units, first, last, input_pairs_, kernel_.get());
    pack_pairs<Dots, typename Cell::template OfState<0>, Cell::kGates>(
        weights.recurrent_kernel, units, units, first, last, unit_pairs_, recurrent_.get());
    pack_biases<Cell>(weights, units, first, last, bias_.get());
    const Index rows = layer_.timesteps * layer_.batch;
    for (Index k = share(rows, part, parts); k < share(rows, part + 1, parts); ++k) {
      const Value* from = given_.at(k / layer_.batch, k % layer_.batch);
      Left* to = inputs_.row(k);
      for (Index at = 0; at < inputs_.width(); at += kLanes) {
        const Index count = layer_.inputs - at;
        const Vector x = count > 0 ? load_part(from + at, count) : Vector{};
        Dots::store_left(to + at, rounded<BFloat16>(x));
      }
    }
  }

  struct Lefts {};
  Lefts read(Index, Index, Index) const { return {}; }

  void look_ahead(Index s, Index block, Index) const {
    Dots::template multiply<kSums>(ahead_.sums(block), {bias(block), 0},
                                   ahead_.count(s) * layer_.batch,
                                   {of_input(ahead_.first(s), 0, block)});
  }

  // See FloatOperands. The sums of the input, if they were made ahead, are added where sums are
  // read anyway.
  template <int Stage, class Finish>
  LSTM_IMPL_INLINE void multiply(const Lefts&, Index s, Index first_row, Index last_row,
                                 Index block, Index, const Finish& finish) const {
    for (Index row = first_row; row < last_row; row += Dots::kMostRows) {
      alignas(64) float sums[Dots::kMostRows * kPanel];
      const Index t = time_of(layer_, s), rows = std::min(Dots::kMostRows, last_row - row);
      const Factors<Left> of_state{hidden_.left(s - 1, row), hidden_.width(),
                                   recurrent_.get() + block * unit_pairs_ * kPanel, unit_pairs_};
      const float* more = nullptr;
      if (ahead_.any()) {
        more = ahead_.sums(s, row, block);
        Dots::template multiply<kSums>(sums, {nullptr, 0}, rows, {of_state});
      } else {
        Dots::template multiply<kSums>(sums, {bias(block), 0}, rows,
                                       {of_input(t, row, block), of_state});
      }
      finish(sums, rows, row, more);
    }
  }

 private:
  using Left = typename Dots::Left;

  static Index pairs_of(Index rows) { return blocks_of(rows, 2 * Dots::kPairs) * Dots::kPairs; }

  const float* bias(Index block) const { return bias_.get() + block * kPanel; }

  Factors<Left> of_input(Index t, Index row, Index block) const {
    return {inputs_.row(t * layer_.batch + row), inputs_.width(),
            kernel_.get() + block * input_pairs_ * kPanel, input_pairs_};
  }

  const Forward<Value, Weight>& call_;
  const Layer& layer_;
  const Plan plan_;
  const Index blocks_;
  const Index input_pairs_, unit_pairs_;  // of rows of the kernels
  const Rows<const Value> given_;
  const Floats kernel_, recurrent_;  // in pairs
  const Floats bias_;
  const LeftRows<Left> inputs_;  // [time][batch]
  const Hidden hidden_;
  const StepsAhead ahead_;
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_BFLOAT16_OPERANDS_H_
