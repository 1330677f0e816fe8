// The forward pass: each step's product and, while its sums are in registers, the gates.
#ifndef LSTM_IMPL_NATIVE_FORWARD_H_
#define LSTM_IMPL_NATIVE_FORWARD_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "bfloat16_activations.h"
#include "gates.h"
#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "panels.h"
#include "plan.h"
#include "product.h"
#include "steps_ahead.h"
#include "thread_team.h"
#include "unpacked.h"
#include "vector.h"

namespace lstm_impl {

template <class Value, class Weight>
class ForwardPass {
 public:
  ForwardPass(const Forward<Value, Weight>& call, const Pool& pool)
      : call_(call),
        layer_(call.layer),
        plan_(recurrence_plan(layer_, layer_.inputs + layer_.units, pool)),
        blocks_(unit_blocks(layer_)),
        packed_(is_packed(layer_)),
        parts_(unpacked_parts()),
        ahead_(layer_, packed_ ? StepsAhead::usual(layer_) : 1),
        kernel_packed_(packed_ && !(ahead_.any() && is_read_in_place(layer_))),
        given_(rows_of(layer_, call.x, layer_.inputs)),
        y_(rows_of(layer_, call.y, layer_.units)),
        cells_(blocks_ * layer_.batch * kLanes) {
    if (packed_) {
      if (kernel_packed_) kernel_.emplace(blocks_ * layer_.inputs * kPanel);
      recurrent_.emplace(blocks_ * layer_.units * kPanel);
      bias_.emplace(blocks_ * kPanel);
    } else {
      sums_.emplace(sums_parts() * sums_size());
    }
    if (kRounds<Value> || (call.mask != nullptr && call.hidden == nullptr)) {
      states_.emplace(2 * layer_.batch * layer_.units);
    }
    if constexpr (kRounds<Value>) {
      const Index time = layer_.batch * layer_.inputs;
      floats_.emplace(std::max<Index>(1, layer_.timesteps * time));
      x_ = {floats_->get(), time, layer_.inputs};
    } else {
      x_ = given_;
    }
  }

  // See kernels.h. The recurrent kernel is read in each step: of three steps, to transpose it in
  // registers each time would take longer than to copy it once.
  static bool reads_transposed(const Layer& layer) {
    constexpr Index kMostSteps = 2;
    return layer.timesteps <= kMostSteps && !is_packed(layer);
  }

  void run(const Pool& pool) {
    pack_state(call_.c0, layer_.batch, layer_.units, cells_.get());
    if constexpr (kRounds<Value>) {
      copy_row(call_.h0, layer_.batch * layer_.units, hidden(-1).data);
    }
    const int workers = plan_.workers;
    const int parts = plan_.parts(blocks_);
    std::vector<Phase> phases;
    if (packed_ || kRounds<Value>) {
      phases.push_back({1, parts, [this, parts](Index, int part) {
                          if (packed_) {
                            pack(share(blocks_, part, parts), share(blocks_, part + 1, parts));
                          }
                          if constexpr (kRounds<Value>) widen(part, parts);
                        }});
    }
    if (!packed_) {
      if (by_kernel_rows()) {
        const bool turned = turn(call_.weights.recurrent_kernel);
        phases.push_back({2, parts_, [this, turned](Index half, int part) {
                            if (half == 0) {
                              multiply_unpacked(0, turned ? mirrored(part) : part);
                            } else {
                              finish_unpacked(0, part);
                            }
                          }});
      } else {
        phases.push_back({layer_.timesteps, parts_, [this](Index s, int part) {
                            multiply_unpacked(s, part);
                            finish_unpacked(s, part);
                          }});
      }
    } else {
      phases.push_back(plan_.all_steps(
          layer_, blocks_, [this](Index s, Index first, Index last, Index block, Index end) {
            advance(s, first, last, block, end);
          }));
    }
    ThreadTeam::run(std::move(phases), workers, call_work(layer_, layer_.inputs + layer_.units),
                    pool);
    finish();
  }

 private:
  // Of few rows each weight is read a few times only, which panels are not worth making for: of
  // small weights they are made quickly, and large ones are better read once than for every
  // kRowsUnpacked rows. Panels are not kept between calls. Whether the weights are still the same
  // could only be seen by reading them, and from beyond the second cache, to read 2 MB of weights
  // and then their panels takes 135 us, to make the panels and then read them 176.
  static bool is_packed(const Layer& layer) {
    constexpr Index kLarge = 1 << 19;  // floats, 2 MB
    const Index weights = kGates * layer.units * (layer.inputs + layer.units);
    const Index most = weights > kLarge ? 8 : std::clamp<Index>(weights >> 14, 4, 20);
    return layer.timesteps * layer.batch > most;
  }

  // The input's product of so few rows reads the kernel as it lies, in tiles as full as of a panel.
  // Of more rows the panels are made in less time than those tiles wait for lines that lie far
  // apart, as they do if the kernel does not stay in the second cache.
  static bool is_read_in_place(const Layer& layer) {
    constexpr Index kMostRows = 40, kMost = 1 << 18;  // floats, 1 MB
    return !kRounds<Value> && layer.units % kLanes == 0 &&
           layer.timesteps * layer.batch <= kMostRows &&
           kGates * layer.units * layer.inputs <= kMost;
  }

  void pack(Index first, Index last) {
    const Weights<Weight>& weights = call_.weights;
    const Index units = layer_.units;
    if (kernel_packed_) {
      pack_gates(weights.kernel, layer_.inputs, units, first, last, kernel_->get());
    }
    pack_gates(weights.recurrent_kernel, units, units, first, last, recurrent_->get());
    pack_gates(weights.bias, 1, units, first, last, bias_->get());
  }

  // A part of the input as floats, which are read many times, once for each block of units.
  void widen(int part, int parts) {
    const Index rows = layer_.timesteps * layer_.batch;
    for (Index k = share(rows, part, parts); k < share(rows, part + 1, parts); ++k) {
      const Index t = k / layer_.batch, b = k % layer_.batch;
      copy_row(given_.at(t, b), layer_.inputs, floats_->get() + k * layer_.inputs);
    }
  }

  float* kernel(Index block) const { return kernel_->get() + block * layer_.inputs * kPanel; }
  float* recurrent(Index block) const { return recurrent_->get() + block * layer_.units * kPanel; }

  // Where h is after step `s` of the forward pass, as floats; before the first it is the initial
  // state.
  Rows<float> hidden(Index s) const {
    const Index size = layer_.batch * layer_.units;
    if constexpr (!kRounds<Value>) {
      if (s < 0) return {const_cast<float*>(call_.h0), 0, layer_.units};
      const Index t = time_of(layer_, s);
      if (call_.mask == nullptr) return {y_.at(t), 0, y_.batch};
      if (call_.hidden != nullptr) return {call_.hidden + t * size, 0, layer_.units};
    }
    return {states_->get() + ((s + 1) % 2) * size, 0, layer_.units};
  }

  // Whether c of every step is where it is kept, and not just that of the last.
  bool cells_in_place() const {
    return !kRounds<Value> && call_.cells != nullptr && layer_.timesteps > 0;
  }

  // c after step `s`, as floats.
  float* cells(Index s, Index block) const {
    const Index batch = layer_.batch;
    if constexpr (!kRounds<Value>) {
      if (s >= 0 && cells_in_place()) {
        return call_.cells + (block * layer_.timesteps + time_of(layer_, s)) * batch * kLanes;
      }
    }
    return cells_.get() + block * batch * kLanes;
  }

  void advance(Index s, Index first_row, Index last_row, Index first_block, Index last_block) {
    for (Index k = first_block; k < last_block; ++k) {
      const Index block = there_and_back(s, k, first_block, last_block);
      if (ahead_.begin(s)) look_ahead(s, block);
      const bool more = k + 1 < last_block && last_row - first_row > kTallRows;
      const Index next = more ? there_and_back(s, k + 1, first_block, last_block) : block;
      Index tile = 0;  // the first ones ask for the next block's panels, others for what is there
      for_each_tile<kTallRows>(first_row, last_row, [&](auto rows, Index row) {
        const bool asks = tile < Fetch::kLines;
        step<decltype(rows)::value>(s, row, block, asks ? next : block, asks ? tile : 0);
        ++tile;
      });
    }
  }

  void look_ahead(Index s, Index block) {
    const Index count = ahead_.count(s), t = ahead_.first(s);
    float* to = ahead_.sums(block);
    if (x_.time != layer_.batch * x_.batch) {
      for (Index b = 0; b < layer_.batch; ++b) {
        project(x_.at(t, b), x_.time, count, block, to + b * kPanel, layer_.batch * kPanel);
      }
    } else {
      project(x_.at(t), x_.batch, count * layer_.batch, block, to, kPanel);
    }
  }

  // Bias and input product of `rows` rows that lie `across` floats apart.
  void project(const float* x, Index across, Index rows, Index block, float* to, Index to_across) {
    for_each_tile<kRows>(0, rows, [&](auto constant, Index row) {
      constexpr int kTile = decltype(constant)::value;
      Tile<kTile, kGates> z;
      z.fill(bias_->get() + block * kPanel, 0);
      if (kernel_packed_) {
        add_product<kGates>(z, x + row * across, across, 1, layer_.inputs, kernel(block));
      } else if constexpr (!kRounds<Value>) {
        add_unpacked_block(z, x + row * across, across, layer_.inputs,
                           call_.weights.kernel + block * kLanes, layer_.units);
      }
      z.spill(to + row * to_across, to_across);
    });
  }

  // next, part: the block of which a part of the panels is asked for meanwhile, and which part.
  template <int kTile>
  void step(Index s, Index row, Index block, Index next, Index part) {
    const Fetch of_recurrent = Fetch::part(recurrent(next), layer_.units, part);
    const Index t = time_of(layer_, s);
    const Rows<float> before = hidden(s - 1);
    alignas(64) float sums[kTile * kPanel];
    constexpr int kPart = part_of(kTile, kGates);
    for (Index gate = 0; gate < kGates; gate += kPart) {
      const Index offset = gate * kLanes;
      Tile<kTile, kPart> z;
      if (ahead_.any()) {
        z.fill(ahead_.sums(s, row, block) + offset, kPanel);
      } else {
        z.fill(bias_->get() + block * kPanel + offset, 0);
        add_product<kGates>(z, x_.at(t, row), x_.batch, 1, layer_.inputs, kernel(block) + offset,
                            Fetch::part(kernel(next), layer_.inputs, part));
      }
      add_product<kGates>(z, before.at(0, row), before.batch, 1, layer_.units,
                          recurrent(block) + offset, of_recurrent);
      z.spill(sums + offset, kPanel);
    }
    finish_rows(sums, kPanel, kTile, s, t, row, block, before);
  }

  // A single step with the kernels as they lie is shared out by their rows, each part with sums of
  // its own. Parts of the columns, whose distance is mostly a power of two, would be in a part of a
  // cache's sets only, and half of 2 MB did not stay in 2 MB. Of more steps, and of many threads'
  // sums, the second meeting would take longer than is gained.
  static constexpr int kMostByRows = 4, kPartsByRows = 4;
  bool by_kernel_rows() const {
    return layer_.timesteps == 1 && plan_.workers > 1 && plan_.workers <= kMostByRows;
  }
  int unpacked_parts() const {
    if (!by_kernel_rows()) return plan_.parts(blocks_);
    return static_cast<int>(std::min<Index>(blocks_, kPartsByRows * plan_.workers));
  }
  int sums_parts() const { return by_kernel_rows() ? parts_ : 1; }
  Index sums_size() const {
    return std::max<Index>(1, layer_.timesteps * layer_.batch) * blocks_ * kPanel;
  }

  // Whether this call goes through each thread's parts from the last to the first, as every other
  // one with the same weights does: of weights that do not fit the second cache it then reads
  // those first that are there. A part's own order, and so the sums, stay the same.
  static bool turn(const void* weights) {
    static std::array<std::atomic<unsigned char>, 61> turns{};
    return turns[reinterpret_cast<std::uintptr_t>(weights) / 64 % turns.size()].fetch_xor(
               1, std::memory_order_relaxed) != 0;
  }

  // The same thread's part that is as far from its last as this one from its first.
  int mirrored(int part) const {
    const int workers = plan_.workers, worker = ((part + 1) * workers - 1) / parts_;
    return static_cast<int>(share(parts_, worker, workers) + share(parts_, worker + 1, workers)) -
           1 - part;
  }

  struct Range {
    Index first, count;
  };

  // The rows of `depth` that a part multiplies.
  Range rows_of_part(Index depth, int part) const {
    if (!by_kernel_rows()) return {0, depth};
    const Index all = blocks_of(depth, kDeep);
    const Index first = std::min(depth, kDeep * share(all, part, parts_));
    return {first, std::min(depth, kDeep * share(all, part + 1, parts_)) - first};
  }

  // A part of a step's products; in the first step also of the input's products of all steps.
  void multiply_unpacked(Index s, int part) {
    const Index batch = layer_.batch, across = blocks_ * kPanel;
    const bool by_rows = by_kernel_rows();
    const Blocks blocks{layer_.units, by_rows ? 0 : share(blocks_, part, parts_),
                        by_rows ? blocks_ : share(blocks_, part + 1, parts_)};
    float* const sums = sums_->get() + (by_rows ? part * sums_size() : 0);
    if (s == 0) project_unpacked(blocks, rows_of_part(layer_.inputs, part), sums);
    const Rows<float> before = hidden(s - 1);
    const Range rows = rows_of_part(layer_.units, part);
    add_product_unpacked(before.data + rows.first, before.batch, batch, rows,
                         call_.weights.recurrent_kernel, layer_.units, blocks,
                         sums + time_of(layer_, s) * batch * across, across);
  }

  // left: from the first of the rows of the kernel on. depth: all rows of the kernel.
  void add_product_unpacked(const float* left, Index left_across, Index count, const Range& rows,
                            const Weight* kernel, Index depth, const Blocks& blocks, float* sums,
                            Index across) {
    if (call_.weights.transposed) {
      add_unpacked_transpose(left, left_across, count, rows.count, kernel + rows.first, depth,
                             blocks, sums, across);
    } else {
      add_unpacked(left, left_across, count, rows.count,
                   kernel + rows.first * kGates * layer_.units, blocks, sums, across);
    }
  }

  void project_unpacked(const Blocks& blocks, const Range& rows, float* sums) {
    const Index batch = layer_.batch, steps = layer_.timesteps, across = blocks_ * kPanel;
    const Weight* const kernel = call_.weights.kernel;
    const Index first = blocks.first * kPanel, end = blocks.last * kPanel;
    for (Index row = 0; row < steps * batch; ++row) {
      std::fill(sums + row * across + first, sums + row * across + end, 0.0f);
    }
    if (x_.time == batch * x_.batch) {
      add_product_unpacked(x_.data + rows.first, x_.batch, steps * batch, rows, kernel,
                           layer_.inputs, blocks, sums, across);
      return;
    }
    for (Index b = 0; b < batch; ++b) {
      add_product_unpacked(x_.at(0, b) + rows.first, x_.time, steps, rows, kernel, layer_.inputs,
                           blocks, sums + b * across, batch * across);
    }
  }

  // The rest of a step, once all its products are there.
  void finish_unpacked(Index s, int part) {
    const Index batch = layer_.batch, across = blocks_ * kPanel, t = time_of(layer_, s);
    const Rows<float> before = hidden(s - 1);
    const Index last = share(blocks_, part + 1, parts_);
    for (Index block = share(blocks_, part, parts_); block < last; ++block) {
      const Index unit = block * kLanes;
      float* const sums = sums_->get() + t * batch * across + block * kPanel;
      for (Index gate = 0; gate < kGates; ++gate) {
        const Vector bias =
            load_part(call_.weights.bias + gate * layer_.units + unit, layer_.units - unit);
        for (Index b = 0; b < batch; ++b) {
          float* const to = sums + b * across + gate * kLanes;
          Vector sum = bias;
          for (Index n = 0; n < sums_parts(); ++n) sum += load(to + n * sums_size());
          store(to, sum);
        }
      }
      finish_rows(sums, across, static_cast<int>(batch), s, t, 0, block, before);
    }
  }

  // Gates, states and outputs of `rows` rows, whose sums lie `across` floats apart. In two goes: a
  // row's tanh(c) waits long for its gates, and a processor looks ahead by some hundred
  // instructions, so that other rows' gates would wait too.
  LSTM_IMPL_INLINE void finish_rows(float* z, Index across, int rows, Index s, Index t, Index row,
                                    Index block, const Rows<float>& before) {
    for (int r = 0; r < rows; ++r) finish_cell(z + r * across, s, t, row + r, block);
    for (int r = 0; r < rows; ++r) {
      finish_output(z + r * across, s, t, row + r, block, before.at(0, row + r));
    }
  }

  // The gates of z, of which o replaces its sum there, and the new cell state.
  LSTM_IMPL_INLINE void finish_cell(float* z, Index s, Index t, Index row, Index block) {
    const Index place = (block * layer_.timesteps + t) * layer_.batch + row;
    Value* const kept = call_.gates != nullptr ? call_.gates + place * kPanel : nullptr;
    const Vector before = load(cells(s - 1, block) + row * kLanes);
    const Vector c = finish_gates<Value>(z, before, valid(t, row), kept);
    store(cells(s, block) + row * kLanes, c);
    if constexpr (kRounds<Value>) {
      if (call_.cells != nullptr) store(call_.cells + place * kLanes, c);
    }
  }

  LSTM_IMPL_INLINE void finish_output(const float* z, Index s, Index t, Index row, Index block,
                                      const float* h_before) {
    const Index unit = block * kLanes, count = layer_.units - unit;
    const Vector o = load(z + 3 * kLanes);
    // What the next step reads is what is written.
    Vector h = rounded<Value>(o * gate_tanh<Value>(load(cells(s, block) + row * kLanes)));
    if (call_.mask != nullptr || kRounds<Value>) {
      store_part(y_.at(t, row) + unit, valid(t, row) ? h : Vector{}, count);
      if (!valid(t, row)) h = load_part(h_before + unit, count);
    }
    store_part(hidden(s).at(0, row) + unit, h, count);
    if constexpr (kRounds<Value>) {
      if (call_.hidden == nullptr) return;
      store_part(call_.hidden + (t * layer_.batch + row) * layer_.units + unit, h, count);
    }
  }

  bool valid(Index t, Index row) const {
    return call_.mask == nullptr || call_.mask[t * layer_.batch + row] != 0;
  }

  void finish() {
    const Index last = layer_.timesteps - 1;
    const Rows<float> state = hidden(last);
    for (Index b = 0; b < layer_.batch; ++b) {
      copy_row(state.at(0, b), layer_.units, call_.h_last + b * layer_.units);
    }
    const Index steps = cells_in_place() ? layer_.timesteps : 1;
    unpack_state(cells(last, 0), steps * layer_.batch * kLanes, layer_.batch, layer_.units,
                 call_.c_last);
  }

  const Forward<Value, Weight>& call_;
  const Layer& layer_;
  const Plan plan_;
  const Index blocks_;
  const bool packed_;
  const int parts_;  // of a step, where nothing is in panels
  const StepsAhead ahead_;
  const bool kernel_packed_;
  const Rows<const Value> given_;  // the input as given
  const Rows<Value> y_;
  const Floats cells_;  // [block][batch][lane]: c0, or c not kept as floats
  std::optional<Floats> kernel_, recurrent_, bias_;  // in panels
  std::optional<Floats> sums_;    // [part][time][batch][block][gate][lane]: of products unpacked
  Rows<const float> x_{};         // the input as floats
  std::optional<Floats> states_;  // h of two steps, where it is not kept as floats
  std::optional<Floats> floats_;  // [time][batch][input]
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_FORWARD_H_
