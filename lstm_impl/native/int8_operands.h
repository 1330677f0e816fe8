// What the products of a forward pass read, and how they are computed, in int8: weights that were
// rounded once, and activations that are rounded in every step.
#ifndef LSTM_IMPL_NATIVE_INT8_OPERANDS_H_
#define LSTM_IMPL_NATIVE_INT8_OPERANDS_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cell.h"
#include "forward.h"
#include "int8.h"
#include "int8_products.h"
#include "memory.h"
#include "numbers.h"
#include "plan.h"
#include "product.h"
#include "steps.h"
#include "steps_ahead.h"
#include "vector.h"

namespace lstm_impl {

// The weights of a layer, one array after another, from the first cache line in the caller's
// memory.
template <class Cell, class Word>
struct Int8Weights {
  static constexpr Index kLine = 64 / sizeof(Word);

  Int8Weights(const Layer& layer, Word* memory)
      : kernel(memory + (-reinterpret_cast<std::uintptr_t>(memory) / sizeof(Word)) % kLine,
               layer.inputs, layer.units),
        recurrent(kernel.end(), layer.units, layer.units),
        bias(recurrent.end()) {}

  using Input = Int8Kernel<Word, Cell::OfInput::kCount>;
  using Recurrent = Int8Kernel<Word, Cell::OfRecurrentKernel::kCount>;

  static Index size(const Layer& layer) {
    return Input::size(layer.inputs, layer.units) + Recurrent::size(layer.units, layer.units) +
           unit_blocks(layer) * kPanel + kLine;
  }

  Input kernel;
  Recurrent recurrent;
  Word* bias;  // of floats [block][sum][lane]
};

// Holds h between the steps as floats. Each step rounds them for itself.
class Int8Hidden {
 public:
  using Value = float;
  using Weight = float;
  using Products = BFloat16;  // gates need not be more exact than for those
  static constexpr bool kReadsPadding = false;

  explicit Int8Hidden(const Forward<float>& call)
      : call_(call),
        layer_(call.layer),
        width_(width_of_bytes(layer_.units)),
        floats_(2 * layer_.batch * width_) {}

  void begin() const {
    for (Index b = 0; b < layer_.batch; ++b) {
      if (forgets_initial(layer_, call_.mask, b)) {
        std::fill_n(row(-1, b), layer_.units, 0.0f);
      } else {
        copy_row(call_.h0 + b * layer_.units, layer_.units, row(-1, b));
      }
    }
  }

  float* row(Index s, Index number) const {
    return floats_.get() + ((s + 1) % 2 * layer_.batch + number) * width_;
  }

  LSTM_IMPL_INLINE bool differs_from_y() const { return true; }

  // Stores h after one step. Some lanes of its registers are units.
  struct Step {
    float* rows;
    Index width;

    LSTM_IMPL_INLINE Vector read(Index row, Index unit, Index) const {
      return load(rows + row * width + unit);
    }

    LSTM_IMPL_INLINE void keep(Index row, Index unit, Index, Vector h) const {
      store(rows + row * width + unit, h);
    }
  };

  LSTM_IMPL_INLINE Step at(Index s) const { return {row(s, 0), width_}; }

  void copy(Index s, Index number, float* to) const { copy_row(row(s, number), layer_.units, to); }

 private:
  const Forward<float>& call_;
  const Layer& layer_;
  const Index width_;
  const Floats floats_;  // of two steps
};

// Bytes says how the numbers are multiplied; see int8_products.h.
template <class Cell, class Bytes>
class Int8Operands {
 public:
  using Hidden = Int8Hidden;
  static constexpr void (*release)() = Bytes::release;

  Int8Operands(const Forward<float>& call, const Pool& pool, const std::int32_t* weights)
      : layer_(call.layer),
        plan_(plan(layer_, pool)),
        rows_(layer_.rows()),
        input_width_(width_of_bytes(layer_.inputs)),
        unit_width_(width_of_bytes(layer_.units)),
        weights_(layer_, weights),
        given_(rows_of(layer_, call.x, layer_.inputs)),
        hidden_(call),
        inputs_(floats_for(rows_, input_width_)),
        lefts_(plan_.workers, floats_for(layer_.batch, unit_width_)),
        held_(static_cast<std::size_t>(plan_.workers), -1),
        ahead_(layer_, steps_ahead(layer_, plan_)),
        sums_(Cell::kStages > 1 ? unit_blocks(layer_) * layer_.batch * kPanel : 0),
        reset_(Cell::kStages > 1 ? layer_.batch * unit_width_ : 0) {}

  const Plan& plan() const { return plan_; }
  const Hidden& hidden() const { return hidden_; }
  const StepsAhead& ahead() const { return ahead_; }

  void begin() const { hidden_.begin(); }

  void pack(int part, int parts) const {
    for (Index k = share(rows_, part, parts); k < share(rows_, part + 1, parts); ++k) {
      pack_bytes(row_at(layer_, given_, k), layer_.inputs, inputs().from(k));
    }
  }

  // The left operands of a stage of step `s`, in a buffer of this thread: h before the step, and in
  // the second stage the reset h.
  class Lefts {
   public:
    Lefts(const Int8Operands& of, int stage, Index s, Index first_row, Index last_row)
        : buffer_(of.lefts_),
          bytes_(lefts_in(buffer_.get(), last_row - first_row, of.unit_width_)),
          first_row_(first_row) {
      const Index here = (s * Cell::kStages + stage) * of.layer_.batch + first_row;
      Index& held = of.held_[buffer_.number()];
      if (held == here) return;
      held = here;
      for (Index row = first_row; row < last_row; ++row) {
        const float* h =
            stage == 0 ? of.hidden_.row(s - 1, row) : of.reset_.get() + row * of.unit_width_;
        pack_bytes(h, of.layer_.units, from(row));
      }
    }

    LeftBytes from(Index row) const { return bytes_.from(row - first_row_); }

   private:
    const Buffers::Buffer buffer_;
    const LeftBytes bytes_;
    const Index first_row_;
  };

  // Each part of the units rounds all of h for itself, unless its buffer already has the rounded h
  // from another part. It would take longer if the threads rounded h together and synchronised once
  // more.
  template <int Stage>
  Lefts read(Index s, Index first_row, Index last_row) const {
    return Lefts(*this, Stage, s, first_row, last_row);
  }

  void look_ahead(Index s, Index block, Index next) const {
    project(ahead_.sums(block), ahead_.first_row(s), ahead_.rows(s), block, next);
  }

  // See FloatOperands. The function is never inlined, because small layers took a twentieth longer
  // with it inlined.
  template <int Stage, class Finish>
  LSTM_IMPL_ONCE void multiply(const Lefts& lefts, Index s, Index first_row, Index last_row,
                               Index block, Index next, const Finish& finish) const {
    using State = typename Cell::template OfState<Stage>;
    constexpr int kBefore = Stage == 0 ? 0 : Cell::template OfState<0>::kCount;
    constexpr Index kOffset = State::kFirst * kLanes;
    for (Index row = first_row; row < last_row; row += kMostRows) {
      alignas(64) float own[kMostRows * kPanel];
      const Index rows = std::min(kMostRows, last_row - row);
      float* const sums =
          Cell::kStages > 1 ? sums_.get() + (block * layer_.batch + row) * kPanel : own;
      const float* from = sums;
      if constexpr (Stage == 0) {
        if (ahead_.any()) {
          from = ahead_.sums(s, row, block);
          copy_sums_without_state<State>(from, rows, sums);
        } else {
          project(sums, layer_.first_row(time_of(layer_, s)) + row, rows, block, next);
        }
      }
      weights_.recurrent.template multiply<Bytes, kBefore, State::kCount>(
          sums + kOffset, {from + kOffset, kPanel}, lefts.from(row), rows, block, next);
      finish(sums, rows, row, nullptr);
    }
  }

  // Keeps the h that a gate has reset, for the next stage to multiply.
  LSTM_IMPL_INLINE void keep_reset(Index row, Index unit, Index, Vector h) const {
    store(reset_.get() + row * unit_width_ + unit, h);
  }

 private:
  static constexpr Index kMostRows = 48;  // as in InRegisters

#if defined(LSTM_IMPL_TILES)
  static constexpr bool kTiles = std::is_same_v<Bytes, BytesByTiles>;
#else
  static constexpr bool kTiles = false;
#endif

  static Plan plan(const Layer& layer, const Pool& pool) {
    const Index features = layer.inputs + layer.units;
    return kTiles ? plan_of_tiles(layer, features, pool) : recurrence_plan(layer, features, pool);
  }

  static Index steps_ahead(const Layer& layer, [[maybe_unused]] const Plan& plan) {
#if defined(LSTM_IMPL_TILES)
    // With more rows, a step has full tiles of its own, and both kernels stay in the second cache.
    if (kTiles && layer.batch < DotsByTiles::kMostRows) {
      return DotsByTiles::steps_ahead(layer, plan);
    }
    if (kTiles) return 1;
#endif
    return StepsAhead::usual(layer);
  }

  // Returns how many floats hold rows of bytes, with the scales of the rows after them.
  static Index floats_for(Index rows, Index width) {
    return std::max<Index>(1, rows * (width / static_cast<Index>(sizeof(float)) + 1));
  }
  static LeftBytes lefts_in(float* memory, Index rows, Index width) {
    return {reinterpret_cast<std::uint8_t*>(memory), width,
            memory + rows * width / static_cast<Index>(sizeof(float))};
  }
  LeftBytes inputs() const { return lefts_in(inputs_.get(), rows_, input_width_); }

  const float* bias(Index block) const {
    return reinterpret_cast<const float*>(weights_.bias) + block * kPanel;
  }

  // Computes sums = bias + x * kernel for `count` rows of x.
  void project(float* sums, Index row, Index count, Index block, Index next) const {
    weights_.kernel.template multiply<Bytes>(sums, {bias(block), 0}, inputs().from(row), count,
                                             block, next);
    fill_sums_without_input<Cell>(bias(block), count, sums);
  }

  const Layer& layer_;
  const Plan plan_;
  const Index rows_;                      // of x
  const Index input_width_, unit_width_;  // bytes of a left operand's row
  const Int8Weights<Cell, const std::int32_t> weights_;
  const Rows<const float> given_;
  const Hidden hidden_;
  const Floats inputs_;              // the input as left operands
  const Buffers lefts_;              // h as left operands
  mutable std::vector<Index> held_;  // of each buffer, the step and row that it has h from
  const StepsAhead ahead_;
  const Floats sums_;   // [block][batch][sum][lane], where they are kept from stage to stage
  const Floats reset_;  // [batch][unit_width_]
};

// The forward pass of a call that has sequences, and of which all but the weights is in `call`.
template <class Cell>
void forward_in_int8(const Forward<float>& call, const std::int32_t* weights, const Pool& pool) {
  with_bytes([&](auto bytes) {
    ForwardPass<Cell, Int8Operands<Cell, decltype(bytes)>>(call, pool, weights).run(pool);
  });
}

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_INT8_OPERANDS_H_
