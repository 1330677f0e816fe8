// Calls whose mask leaves steps out, made calls of the other steps alone: the sequences are sorted by
// how many steps they have, and the batch shrinks from step to step.
#ifndef LSTM_IMPL_NATIVE_SHRINKING_BATCH_H_
#define LSTM_IMPL_NATIVE_SHRINKING_BATCH_H_

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "kernels.h"
#include "memory.h"
#include "plan.h"
#include "steps.h"
#include "thread_team.h"
#include "vector.h"

namespace lstm_impl {

// Rows of an array in the order in which a shorter call has them: the array itself, or a copy.
template <class Value>
class SelectedRows {
 public:
  explicit SelectedRows(Value* given) : rows_(given) {}
  explicit SelectedRows(Index numbers)
      : memory_(std::make_unique<Floats>(
            blocks_of(numbers * static_cast<Index>(sizeof(Value)), sizeof(float)))),
        rows_(reinterpret_cast<Value*>(memory_->get())) {}

  Value* get() const { return rows_; }

 private:
  std::unique_ptr<Floats> memory_;
  Value* rows_;
};

// Which rows of the caller's arrays a shorter call has.
class RowSelection {
 public:
  // rows: of the caller's, in the order of the shorter call. work: that of the call, see call_work().
  RowSelection(std::vector<Index> rows, double work) : rows_(std::move(rows)), work_(work) {
    for (Index k = 0; k < size(); ++k) is_prefix_ = is_prefix_ && row(k) == k;
  }

  // The rows of an array that is only read, which may be null.
  template <class Value>
  SelectedRows<const Value> read(const Value* array, Index features, const Pool& pool) const {
    if (array == nullptr || is_prefix_) return SelectedRows<const Value>(array);
    SelectedRows<const Value> found(size() * features);
    Value* const to = const_cast<Value*>(found.get());
    for_each_row(features, pool, [=](Index k, Index given) {
      copy_row(array + given * features, features, to + k * features);
    });
    return found;
  }

  // Where a shorter call writes what write() then copies to an array, which may be null. memory:
  // where it must write, or null.
  template <class Value>
  SelectedRows<Value> make(Value* array, Index features, Value* memory = nullptr) const {
    if (memory != nullptr) return SelectedRows<Value>(memory);
    if (array == nullptr || is_prefix_) return SelectedRows<Value>(array);
    return SelectedRows<Value>(size() * features);
  }

  template <class Value>
  void write(const SelectedRows<Value>& rows, Value* array, Index features, const Pool& pool) const {
    const Value* const from = rows.get();
    if (from == array) return;
    for_each_row(features, pool, [=](Index k, Index given) {
      copy_row(from + k * features, features, array + given * features);
    });
  }

  // The same for what is kept in blocks of units, [block][row][number]: `rows` of the caller's are in
  // each of `blocks`.
  template <class Value>
  SelectedRows<const Value> read_blocks(const Value* array, Index blocks, Index rows, Index numbers,
                                        const Pool& pool) const {
    SelectedRows<const Value> found(blocks * size() * numbers);
    Value* const to = const_cast<Value*>(found.get());
    for_each_part(blocks, rows, numbers, pool, [=](Index own, Index given) {
      copy_row(array + given, numbers, to + own);
    });
    return found;
  }

  template <class Value>
  SelectedRows<Value> make_blocks(Index blocks, Index numbers) const {
    return SelectedRows<Value>(blocks * size() * numbers);
  }

  template <class Value>
  void write_blocks(const SelectedRows<Value>& made, Value* array, Index blocks, Index rows,
                    Index numbers, const Pool& pool) const {
    const Value* const from = made.get();
    for_each_part(blocks, rows, numbers, pool, [=](Index own, Index given) {
      copy_row(from + own, numbers, array + given);
    });
  }

 private:
  Index size() const { return static_cast<Index>(rows_.size()); }
  Index row(Index number) const { return rows_[static_cast<std::size_t>(number)]; }

  // Calls work(place in the shorter call's array, place in the caller's) for the part of each row in
  // each block.
  template <class Work>
  void for_each_part(Index blocks, Index rows, Index numbers, const Pool& pool,
                     const Work& work) const {
    for_each_row(blocks * numbers, pool, [=, count = size()](Index k, Index given) {
      for (Index block = 0; block < blocks; ++block) {
        work((block * count + k) * numbers, (block * rows + given) * numbers);
      }
    });
  }

  // Calls work(number, row of the caller's) for all rows, by several threads where that is faster.
  template <class Work>
  void for_each_row(Index features, const Pool& pool, const Work& work) const {
    constexpr Index kFewNumbers = 1 << 15;  // which are copied while a thread is found
    const int workers = size() * features < kFewNumbers ? 1 : workers_for(work_, pool);
    const int parts = workers == 1 ? 1 : 4 * workers;
    const auto task = [&](Index, int part) {
      const Index end = share(size(), part + 1, parts);
      for (Index k = share(size(), part, parts); k < end; ++k) work(k, row(k));
    };
    if (workers == 1) return task(0, 0);
    ThreadTeam::run({Phase{1, parts, task}}, workers, work_, pool);
  }

  std::vector<Index> rows_;
  double work_;
  bool is_prefix_ = true;  // whether the row k is the caller's row k
};

class ShrinkingBatch {
 public:
  // Of a call, or nothing if that is to be computed as it is: if sequences start over in it, if too
  // few steps are left out, or if it has so few rows that forward passes read the kernels in place.
  static std::optional<ShrinkingBatch> make(const Layer& layer, const StepBits* mask) {
    if (mask == nullptr) return std::nullopt;
    const Index all = layer.timesteps * layer.batch;
    std::vector<Index> lengths(static_cast<std::size_t>(layer.batch), 0);
    unsigned bits = 0;
    for (Index t = 0; t < layer.timesteps; ++t) {
      const StepBits* const steps = mask + t * layer.batch;
      for (Index b = 0; b < layer.batch; ++b) {
        lengths[static_cast<std::size_t>(b)] += is_there(steps[b]) ? 1 : 0;
        bits |= steps[b];
      }
    }
    const Index rows = std::accumulate(lengths.begin(), lengths.end(), Index{0});
    if (!layer.only_steps) {
      constexpr Index kFewRows = 20, kWorthwhile = 8;
      const bool starts_over = (bits & ~unsigned{kThere}) != 0;
      if (starts_over || all <= kFewRows || (all - rows) * kWorthwhile < all) return std::nullopt;
    }
    return ShrinkingBatch(layer, mask, lengths, rows);
  }

  // Calls run(call) with the shorter call.
  template <class Value, class Weight, class Run>
  void forward(const Forward<Value, Weight>& call, const Pool& pool, const Run& run) const {
    const Index inputs = call.layer.inputs, units = call.layer.units;
    const bool keeps_places = call.layer.keeps_places && call.gates != nullptr;
    const auto x = steps_.read(call.x, inputs, pool);
    const auto h0 = states_.read(call.h0, units, pool), c0 = states_.read(call.c0, units, pool);
    // What is kept of h is y of the shorter call.
    const bool writes_y_apart = call.layer.only_steps || keeps_places;
    const auto y = steps_.make(call.y, units, writes_y_apart ? nullptr : call.hidden);
    const auto h_last = states_.make(call.h_last, units), c_last = states_.make(call.c_last, units);
    Forward<Value, Weight> shorter = call;
    shorter.layer = layer();
    shorter.mask = nullptr;
    shorter.hidden = nullptr;
    shorter.x = x.get(), shorter.h0 = h0.get(), shorter.c0 = c0.get();
    shorter.y = y.get(), shorter.h_last = h_last.get(), shorter.c_last = c_last.get();
    if (keeps_places) {
      run_and_place(call, shorter, y, pool, run);
    } else {
      run(shorter);
    }
    steps_.write(y, call.y, units, pool);
    clear_left_out(call.y, units);
    if (!keeps_places) {
      clear_rest(call.gates, of_gates());
      // A GRU keeps no cell states, so the address may be that of an empty array.
      if (has_cells()) clear_rest(call.cells, of_gates() / kSums);
      clear_rest(call.hidden, units);
    }
    write_states(h_last, call.h0, call.h_last, units, pool);
    write_states(c_last, call.c0, call.c_last, units, pool);
  }

  template <class Value, class Weight, class Run>
  void backward(const Backward<Value, Weight>& call, const Pool& pool, const Run& run) const {
    const Index inputs = call.layer.inputs, units = call.layer.units, rows = call.layer.rows();
    const bool keeps_places = call.layer.keeps_places;
    const auto x = steps_.read(call.x, inputs, pool), dy = steps_.read(call.dy, units, pool);
    const auto hidden = call.layer.only_steps ? steps_.read(call.hidden, units, pool)
                        : keeps_places        ? places_.read(call.hidden, units, pool)
                                              : SelectedRows<const Value>(call.hidden);
    const auto kept = [&](const Value* array, Index numbers) {
      if (!keeps_places) return SelectedRows<const Value>(array);
      return places_.read_blocks(array, blocks(), rows, numbers, pool);
    };
    const auto gates = kept(call.gates, kPanel);
    const auto cells =
        has_cells() ? kept(call.cells, kLanes) : SelectedRows<const Value>(call.cells);
    const auto dz = keeps_places ? places_.template make_blocks<float>(blocks(), kPanel)
                                 : SelectedRows<float>(call.dz);
    const auto read = [&](const Value* states) { return states_.read(states, units, pool); };
    const auto h0 = read(call.h0), c0 = read(call.c0);
    const auto dh_last = read(call.dh_last), dc_last = read(call.dc_last);
    const auto dh0 = states_.make(call.dh0, units), dc0 = states_.make(call.dc0, units);
    Backward<Value, Weight> shorter = call;
    shorter.layer = layer();
    shorter.mask = nullptr;
    shorter.x = x.get(), shorter.h0 = h0.get(), shorter.c0 = c0.get();
    shorter.hidden = hidden.get(), shorter.gates = gates.get(), shorter.cells = cells.get();
    shorter.dy = dy.get(), shorter.dh_last = dh_last.get(), shorter.dc_last = dc_last.get();
    shorter.dz = dz.get(), shorter.dh0 = dh0.get(), shorter.dc0 = dc0.get();
    run(shorter);
    if (keeps_places) {
      write_to_places(dz, call.dz, rows, pool);
    } else if (static_cast<const void*>(call.dz) != call.gates) {
      // dz may be where the gates were, whose rest is clear.
      clear_rest(call.dz, of_gates());
    }
    write_states(dh0, call.dh_last, call.dh0, units, pool);
    write_states(dc0, call.dc_last, call.dc0, units, pool);
  }

  template <class Value, class Weight, class Run>
  void input_gradient(const InputGradient<Value, Weight>& call, const Pool& pool,
                      const Run& run) const {
    const Index inputs = call.layer.inputs;
    const auto dx = steps_.make(call.dx, inputs);
    const auto dz = call.layer.keeps_places ? places_.read_blocks(call.dz, blocks(), call.layer.rows(),
                                                                  kPanel, pool)
                                            : SelectedRows<const float>(call.dz);
    InputGradient<Value, Weight> shorter = call;
    shorter.layer = layer();
    shorter.mask = nullptr;
    shorter.dz = dz.get();
    shorter.dx = dx.get();
    run(shorter);
    steps_.write(dx, call.dx, inputs, pool);
    clear_left_out(call.dx, inputs);
  }

 private:
  // lengths: the steps that each sequence has. rows: their sum.
  ShrinkingBatch(const Layer& layer, const StepBits* mask, const std::vector<Index>& lengths,
                 Index rows)
      : ShrinkingBatch(layer, lengths, order_by_length(lengths)) {
    std::vector<Index> selected(static_cast<std::size_t>(rows));
    std::vector<Index> selected_places(layer.keeps_places ? selected.size() : 0);
    std::vector<Index> places(order_.size()), done(order_.size(), 0);
    for (std::size_t k = 0; k < order_.size(); ++k) {
      places[static_cast<std::size_t>(order_[k])] = static_cast<Index>(k);
    }
    rows_kept_ = layer.only_steps ? rows : layer.rows();
    // Rows of only the steps that are there, which come before those of a time.
    Index before = layer.reverse ? rows : 0;
    for (Index s = 0; s < layer.timesteps; ++s) {
      const Index t = time_of(layer, s);
      const StepBits* const steps = mask + t * layer.batch;
      const Index here = std::count_if(steps, steps + layer.batch, is_there);
      if (layer.reverse) before -= here;
      Index number = before;
      for (Index b = 0; b < layer.batch; ++b) {
        const Index of_all = layer.batch_major ? b * layer.timesteps + t : t * layer.batch + b;
        if (is_there(steps[b])) {
          const auto at = static_cast<std::size_t>(b);
          const Index first = first_rows_[static_cast<std::size_t>(done[at]++)];
          const auto row = static_cast<std::size_t>(first + places[at]);
          selected[row] = layer.only_steps ? number++ : of_all;
          if (layer.keeps_places) selected_places[row] = t * layer.batch + b;
        } else if (!layer.only_steps) {
          left_out_.push_back(of_all);
          if (layer.keeps_places) {
            const Index earlier = s == 0 ? -1 : time_of(layer, s - 1) * layer.batch + b;
            left_out_places_.push_back({t * layer.batch + b, earlier, b});
          }
        }
      }
      if (!layer.reverse) before += here;
    }
    const double work = call_work(this->layer(), layer.inputs + layer.units);
    steps_ = RowSelection(std::move(selected), work);
    places_ = RowSelection(std::move(selected_places), work);
  }

  ShrinkingBatch(const Layer& layer, const std::vector<Index>& lengths, std::vector<Index> order)
      : layer_(layer),
        order_(std::move(order)),
        rows_kept_(0),
        steps_({}, 0),
        places_({}, 0),
        states_({}, 0) {
    layer_.timesteps = layer.batch == 0 ? 0 : lengths[static_cast<std::size_t>(order_[0])];
    layer_.batch_major = layer_.reverse = layer_.only_steps = layer_.keeps_places = false;
    std::vector<Index> sequences(static_cast<std::size_t>(layer_.timesteps + 1), 0);
    for (const Index length : lengths) ++sequences[static_cast<std::size_t>(length)];
    // From those that have just so many steps to those that have more.
    Index more = 0;
    for (std::size_t k = sequences.size(); k-- > 0;) {
      std::swap(sequences[k], more);
      more += sequences[k];
    }
    layer_.batch = sequences[0];
    first_rows_.push_back(0);
    for (Index t = 0; t < layer_.timesteps; ++t) {
      first_rows_.push_back(first_rows_.back() + sequences[static_cast<std::size_t>(t)]);
    }
    states_ = RowSelection({order_.begin(), order_.begin() + layer_.batch}, 0);
  }

  // Sequences with the most steps first, in their order among equals.
  static std::vector<Index> order_by_length(const std::vector<Index>& lengths) {
    std::vector<Index> order(lengths.size());
    std::iota(order.begin(), order.end(), Index{0});
    std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
      return lengths[static_cast<std::size_t>(a)] > lengths[static_cast<std::size_t>(b)];
    });
    return order;
  }

  // The layer of the shorter call.
  Layer layer() const {
    Layer found = layer_;
    found.first_rows = first_rows_.data();
    return found;
  }

  // Runs the shorter call, and writes what it keeps to the places [time][batch] that it has in the
  // caller's arrays. Steps that are left out hold the states that they leave as they are, as they do
  // where they are computed: another part of the batch may be cut out and computed in another way.
  template <class Value, class Weight, class Run>
  void run_and_place(const Forward<Value, Weight>& call, Forward<Value, Weight>& shorter,
                     const SelectedRows<Value>& y, const Pool& pool, const Run& run) const {
    const Index units = call.layer.units, rows = call.layer.rows();
    const auto gates = places_.template make_blocks<Value>(blocks(), kPanel);
    const auto cells = places_.template make_blocks<Value>(has_cells() ? blocks() : 0, kLanes);
    shorter.gates = gates.get();
    if (has_cells()) shorter.cells = cells.get();
    run(shorter);
    write_to_places(gates, call.gates, rows, pool);
    places_.write(y, call.hidden, units, pool);
    if (has_cells()) places_.write_blocks(cells, call.cells, blocks(), rows, kLanes, pool);
    for (const auto& [place, before, sequence] : left_out_places_) {
      copy_row(before < 0 ? call.h0 + sequence * units : call.hidden + before * units, units,
               call.hidden + place * units);
      for (Index block = 0; has_cells() && block < blocks(); ++block) {
        Value* const cell = call.cells + (block * rows + place) * kLanes;
        if (before >= 0) {
          copy_row(call.cells + (block * rows + before) * kLanes, kLanes, cell);
        } else {
          const Index unit = block * kLanes, count = std::min(kLanes, units - unit);
          std::fill(std::copy_n(call.c0 + sequence * units + unit, count, cell), cell + kLanes,
                    Value{});
        }
      }
    }
  }

  bool has_cells() const { return layer_.cell == CellKind::kLSTM; }
  Index blocks() const { return unit_blocks(layer_); }

  // Writes gates or dz to their places, of `rows` in each block, and zeros to those of steps that are
  // left out.
  template <class Value>
  void write_to_places(const SelectedRows<Value>& made, Value* kept, Index rows,
                       const Pool& pool) const {
    places_.write_blocks(made, kept, blocks(), rows, kPanel, pool);
    for (const auto& each : left_out_places_) {
      for (Index block = 0; block < blocks(); ++block) {
        std::fill_n(kept + (block * rows + each.place) * kPanel, kPanel, Value{});
      }
    }
  }

  // Numbers that are kept of a row's gates.
  Index of_gates() const { return blocks() * kPanel; }

  // Zeros behind what is kept of the steps: a tool that looks for NaN in a framework's arrays would
  // find what was in memory before.
  template <class Value>
  void clear_rest(Value* kept, Index features) const {
    if (kept == nullptr) return;
    std::fill(kept + first_rows_.back() * features, kept + rows_kept_ * features, Value{});
  }

  // Zeros, which no step writes.
  template <class Value>
  void clear_left_out(Value* array, Index features) const {
    for (const Index row : left_out_) std::fill_n(array + row * features, features, Value{});
  }

  // States of sequences without steps stay what they are.
  template <class Value>
  void write_states(const SelectedRows<Value>& states, const Value* before, Value* array, Index units,
                    const Pool& pool) const {
    if (array == nullptr) return;
    states_.write(states, array, units, pool);
    for (std::size_t k = static_cast<std::size_t>(layer_.batch); k < order_.size(); ++k) {
      copy_row(before + order_[k] * units, units, array + order_[k] * units);
    }
  }

  Layer layer_;  // without first_rows, which would not move with this
  std::vector<Index> order_;       // of the sequences
  std::vector<Index> first_rows_;  // see Layer
  std::vector<Index> left_out_;    // rows of the caller's arrays that no step has
  Index rows_kept_;                // that there is room for in what is kept
  // Of a layer that keeps_places: the steps that are left out, in the order in which they are read.
  // place: [time][batch]. before: the place of the same sequence one step earlier, or -1.
  struct LeftOut {
    Index place, before, sequence;
  };
  std::vector<LeftOut> left_out_places_;
  RowSelection steps_, places_, states_;  // places_: where steps_ are in what is kept with places
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_SHRINKING_BATCH_H_
