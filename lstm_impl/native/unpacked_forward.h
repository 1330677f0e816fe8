// The forward pass with few rows, which reads the kernels in place.
#ifndef LSTM_IMPL_NATIVE_UNPACKED_FORWARD_H_
#define LSTM_IMPL_NATIVE_UNPACKED_FORWARD_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "cell.h"
#include "cell_step.h"
#include "float_operands.h"
#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "plan.h"
#include "thread_team.h"
#include "unpacked.h"
#include "vector.h"

namespace lstm_impl {

template <class Cell, class Value, class Weight>
class UnpackedForward {
 public:
  // Returns whether this pass is faster than one with panels. With few rows, each weight is read
  // only a few times, so making panels does not pay. How many rows are few depends on the weights:
  // panels of small weights are made quickly, and large weights are better read once than once for
  // every kRowsUnpacked rows. Panels are not kept between calls: the only way to see whether the
  // weights are still the same is to read them. If they are beyond the second cache, reading 2 MB of
  // weights and then their panels takes 135 us, and making the panels and then reading them takes
  // 176 us.
  static bool serves(const Layer& layer) {
    if (Cell::kStages > 1 || layer.first_rows != nullptr || layer.only_steps) return false;
    constexpr Index kLarge = 1 << 19;  // floats, 2 MB
    const Index weights = Cell::kGates * layer.units * (layer.inputs + layer.units);
    const Index most = weights > kLarge ? 8 : std::clamp<Index>(weights >> 14, 4, 20);
    return layer.timesteps * layer.batch <= most;
  }

  // Returns whether transposed kernels need not be copied first, by this pass or by one with panels,
  // which packs them in either order. This pass reads the recurrent kernel in each step. With three
  // steps, transposing it in registers each time would take longer than copying it once.
  static bool allows_transposed(const Layer& layer) {
    constexpr Index kMostSteps = 2;
    return layer.timesteps <= kMostSteps || !serves(layer);
  }

  UnpackedForward(const Forward<Value, Weight>& call, const Pool& pool)
      : call_(call),
        layer_(call.layer),
        plan_(recurrence_plan(layer_, layer_.inputs + layer_.units, pool)),
        blocks_(unit_blocks(layer_)),
        parts_(parts()),
        hidden_(call),
        input_(layer_, call.x),
        step_(call, hidden_),
        sums_(sums_parts() * sums_size()) {}

  void run(const Pool& pool) {
    step_.begin();
    hidden_.begin();
    std::vector<Phase> phases;
    if constexpr (kRounds<Value>) {
      const int parts = plan_.parts(blocks_);
      phases.push_back({1, parts, [this, parts](Index, int part) { input_.widen(part, parts); }});
    }
    if (by_kernel_rows()) {
      const bool turned = turn(call_.weights.recurrent_kernel);
      phases.push_back({2, parts_, [this, turned](Index half, int part) {
                          if (half == 0) {
                            multiply(0, turned ? mirrored(part) : part);
                          } else {
                            finish(0, part);
                          }
                        }});
    } else {
      phases.push_back({layer_.timesteps, parts_, [this](Index s, int part) {
                          multiply(s, part);
                          finish(s, part);
                        }});
    }
    ThreadTeam::run(std::move(phases), plan_.workers,
                    call_work(layer_, layer_.inputs + layer_.units), pool);
    step_.end();
  }

 private:
  using Input = typename Cell::OfInput;
  using State = typename Cell::template OfState<0>;

  // A single step is divided by the rows of the kernels, and each part has sums of its own. If it
  // were divided by columns, the distance between the columns of a part would mostly be a power of
  // two. A part would then use only some of the sets of a cache, and half of 2 MB of weights did
  // not stay in a cache of 2 MB. With more steps, or with the sums of many threads, synchronising a
  // second time would take longer than this saves.
  static constexpr int kMostByRows = 4, kPartsByRows = 4;
  bool by_kernel_rows() const {
    return layer_.timesteps == 1 && plan_.workers > 1 && plan_.workers <= kMostByRows;
  }
  int parts() const {
    if (!by_kernel_rows()) return plan_.parts(blocks_);
    return static_cast<int>(std::min<Index>(blocks_, kPartsByRows * plan_.workers));
  }
  int sums_parts() const { return by_kernel_rows() ? parts_ : 1; }
  Index sums_size() const {
    return std::max<Index>(1, layer_.timesteps * layer_.batch) * blocks_ * kPanel;
  }

  // Returns whether this call goes through the parts of each thread from the last to the first.
  // Every other call with the same weights does. If the weights do not fit into the second cache,
  // the call then first reads those that are still there. The order inside a part, and therefore
  // the sums, stay the same.
  static bool turn(const void* weights) {
    static std::array<std::atomic<unsigned char>, 61> turns{};
    return turns[reinterpret_cast<std::uintptr_t>(weights) / 64 % turns.size()].fetch_xor(
               1, std::memory_order_relaxed) != 0;
  }

  // Returns the part of the same thread that is as far from its last part as this one is from its
  // first.
  int mirrored(int part) const {
    const int workers = plan_.workers, worker = ((part + 1) * workers - 1) / parts_;
    return static_cast<int>(share(parts_, worker, workers) + share(parts_, worker + 1, workers)) -
           1 - part;
  }

  struct Range {
    Index first, count;
  };

  // Returns the rows of `depth` that a part multiplies.
  Range rows_of_part(Index depth, int part) const {
    if (!by_kernel_rows()) return {0, depth};
    const Index all = blocks_of(depth, kDeep);
    const Index first = std::min(depth, kDeep * share(all, part, parts_));
    return {first, std::min(depth, kDeep * share(all, part + 1, parts_)) - first};
  }

  // Computes a part of a step's products. In the first step, it also computes the part of the
  // input's products of all steps.
  void multiply(Index s, int part) const {
    const Index batch = layer_.batch, across = blocks_ * kPanel;
    const bool by_rows = by_kernel_rows();
    const Blocks blocks{layer_.units, by_rows ? 0 : share(blocks_, part, parts_),
                        by_rows ? blocks_ : share(blocks_, part + 1, parts_)};
    float* const sums = sums_.get() + (by_rows ? part * sums_size() : 0);
    if (s == 0) project(blocks, rows_of_part(layer_.inputs, part), sums);
    const Rows<float> before = hidden_.rows(s - 1);
    const Range rows = rows_of_part(layer_.units, part);
    add_product_of<State>(before.data + rows.first, before.batch, batch, rows,
                          call_.weights.recurrent_kernel, layer_.units, blocks,
                          sums + time_of(layer_, s) * batch * across, across);
  }

  // left: the left operand, from the first of these rows of the kernel on. depth: the number of all
  // rows of the kernel.
  template <class Sums>
  void add_product_of(const float* left, Index left_across, Index count, const Range& rows,
                      const Weight* kernel, Index depth, const Blocks& blocks, float* sums,
                      Index across) const {
    if (call_.weights.transposed) {
      add_unpacked_transpose<Sums>(left, left_across, count, rows.count, kernel + rows.first, depth,
                                   blocks, sums, across);
    } else {
      add_unpacked<Sums, Cell::kGates>(left, left_across, count, rows.count,
                                       kernel + rows.first * Cell::kGates * layer_.units, blocks,
                                       sums, across);
    }
  }

  void project(const Blocks& blocks, const Range& rows, float* sums) const {
    const Rows<const float>& x = input_.rows();
    const Index batch = layer_.batch, steps = layer_.timesteps, across = blocks_ * kPanel;
    const Weight* const kernel = call_.weights.kernel;
    const Index first = blocks.first * kPanel, end = blocks.last * kPanel;
    for (Index row = 0; row < steps * batch; ++row) {
      std::fill(sums + row * across + first, sums + row * across + end, 0.0f);
    }
    if (x.time == batch * x.batch) {
      add_product_of<Input>(x.data + rows.first, x.batch, steps * batch, rows, kernel,
                            layer_.inputs, blocks, sums, across);
      return;
    }
    for (Index b = 0; b < batch; ++b) {
      add_product_of<Input>(x.at(0, b) + rows.first, x.time, steps, rows, kernel, layer_.inputs,
                            blocks, sums + b * across, batch * across);
    }
  }

  // Does the rest of a step, after all its products are there.
  void finish(Index s, int part) const {
    const Index batch = layer_.batch, across = blocks_ * kPanel, t = time_of(layer_, s);
    const Index last = share(blocks_, part + 1, parts_);
    for (Index block = share(blocks_, part, parts_); block < last; ++block) {
      float* const sums = sums_.get() + t * batch * across + block * kPanel;
      for (Index sum = 0; sum < kSums; ++sum) {
        const Vector bias = Cell::bias(call_.weights, sum, layer_.units, block * kLanes);
        for (Index b = 0; b < batch; ++b) {
          float* const to = sums + b * across + sum * kLanes;
          Vector total = bias;
          for (Index n = 0; n < sums_parts(); ++n) total += load(to + n * sums_size());
          store(to, total);
        }
      }
      step_.finish_rows(sums, across, batch, s, 0, block);
    }
  }

  const Forward<Value, Weight>& call_;
  const Layer& layer_;
  const Plan plan_;
  const Index blocks_;
  const int parts_;  // of a step
  const FloatHidden<Value, Weight> hidden_;
  const FloatInput<Value> input_;
  const CellStep<Cell, FloatHidden<Value, Weight>> step_;
  const Floats sums_;  // [part][time][batch][block][sum][lane]
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_UNPACKED_FORWARD_H_
