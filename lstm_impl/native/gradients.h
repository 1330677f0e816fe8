// The gradients that need no recurrence. They are large products of dz, which are computed after
// all steps.
#ifndef LSTM_IMPL_NATIVE_GRADIENTS_H_
#define LSTM_IMPL_NATIVE_GRADIENTS_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "backward.h"
#include "bfloat16_products.h"
#include "cell.h"
#include "float_parts.h"
#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "panels.h"
#include "part_rows.h"
#include "parts.h"
#include "plan.h"
#include "product.h"
#include "steps.h"
#include "thread_team.h"
#include "unpacked.h"
#include "vector.h"

namespace lstm_impl {

// The number of rows of dz that a product takes at once. A panel of them has 64 kB, which stay in
// the second cache while all tiles of the left operand are multiplied with it.
constexpr Index kDepth = 256;

// If dz has at most this many floats, all of it stays in the second cache while all tiles are
// multiplied with it.
constexpr Index kFewFloats = 1 << 18;

// Computes the gradients of kernels and biases: the transpose of [x, h before, 1] times dz. In a
// cell with two stages, the left operand also contains the reset h, before the 1. The left operand
// is packed in pieces of some thousand rows, so it takes hardly any memory. If Products rounds
// numbers to bfloat16, dz is packed in the same way.
template <class Cell, class Value, class Weight, class Products = OfFloats>
class WeightGradients {
 public:
  explicit WeightGradients(const Backward<Value, Weight>& call)
      : call_(call),
        layer_(call.layer),
        blocks_(unit_blocks(layer_)),
        rows_(layer_.rows()),
        columns_(layer_.inputs + Cell::kStages * layer_.units + 1),
        tiles_(blocks_of(columns_, kColumns)),
        piece_(std::min(blocks_of(rows_, kDepth), kPiece)),
        x_(rows_of(layer_, call.x, layer_.inputs)),
        hidden_(hidden_rows(call)),
        few_(kCanBeFew && rows_ <= kDepth && layer_.units % kLanes == 0 &&
             rows_ <= columns_ && rows_ * blocks_ * kPanel <= kFewFloats),
        left_(piece_ * kDepth * tiles_ * kColumns / kNumbers * Products::kParts) {
    if constexpr (kRoundsFactors<Products>) {
      right_.emplace(piece_ * blocks_ * kPairs * kPanel * Products::kParts);
    }
    if constexpr (kSplitsFactors<Products>) {
      largest_left_.resize(static_cast<std::size_t>(piece_ * tiles_ * kColumns));
      largest_right_.resize(static_cast<std::size_t>(piece_ * blocks_));
    }
    if (few_) right_.emplace(rows_ * blocks_ * kPanel);
    if (kRounds<Weight> && blocks_of(rows_, kDepth) > piece_) {
      totals_.emplace((columns_ + 1) * width());
    }
  }

  double multiplications() const {
    return static_cast<double>(rows_) * static_cast<double>(columns_) *
           static_cast<double>(width());
  }

  void add_phases(std::vector<Phase>& phases, int workers) {
    // There are several segments for each thread, so that the other threads do not wait long for
    // the last one.
    const Index wanted = workers == 1 ? 1 : 4 * workers;
    const Index cuts = std::clamp<Index>(blocks_of(wanted, blocks_), 1, tiles_);
    const Index packed = kNumbers == 2 ? kSquare * tiles_ : tiles_;
    const Index rows = kSplitsFactors<Products> ? 2 : 0;  // see multiply_split()
    const Index summed = blocks_of(tiles_, cuts) * kPanel + rows * tiles_;
    buffers_.emplace(workers, std::max(packed, summed) * kColumns);
    if (few_) return add_phases_of_few(phases, static_cast<int>(std::min(wanted, tiles_)));
    for (Index from = 0; from < blocks_of(rows_, kDepth); from += piece_) {
      const Index chunks = std::min(piece_, blocks_of(rows_, kDepth) - from);
      phases.push_back({1, static_cast<int>(chunks), [this, from](Index, int chunk) {
                          if constexpr (kRoundsFactors<Products>) {
                            pack_rounded(from + chunk, chunk);
                          } else {
                            pack(from + chunk, chunk);
                          }
                        }});
      phases.push_back(
          {1, static_cast<int>(blocks_ * cuts), [this, from, chunks, cuts](Index, int segment) {
             const auto cut = static_cast<int>(segment % cuts);
             multiply(segment / cuts, share(tiles_, cut, static_cast<int>(cuts)),
                      share(tiles_, cut + 1, static_cast<int>(cuts)), from, chunks);
           }});
      phases.back().leave = Products::release;
    }
  }

 private:
  static constexpr Index kPiece = 8;  // chunks of kDepth rows

  // Whether dz can be put in the order of a gradient. This requires a cell whose gates have one sum
  // each.
  static constexpr bool kCanBeFew = !kRoundsFactors<Products> && Cell::kGates == kSums;

  Index width() const { return Cell::kGates * layer_.units; }

  // How many numbers of a factor are in 32 bits, how many columns of the left operand are packed
  // together, and how many pairs of rows are in a chunk.
  static constexpr Index kNumbers = kRoundsFactors<Products> ? 2 : 1;
  static constexpr Index kColumns = kRoundsFactors<Products> ? kLanes : kRows;
  static constexpr Index kPairs = kDepth / 2;

  // Rows of kLanes pairs, which are transposed in registers.
  static constexpr Index kSquare = 2 * kLanes;

  // With few rows, writing the gradients takes longest. Therefore each segment writes whole rows of
  // the gradients, and not a block's part of each row.
  void add_phases_of_few(std::vector<Phase>& phases, int cuts) {
    const auto blocks = static_cast<int>(blocks_);
    phases.push_back({1, blocks + 1, [this, blocks](Index, int segment) {
                        if (segment < blocks) {
                          order_as_gradients(segment);
                        } else {
                          pack(0, 0);
                        }
                      }});
    phases.push_back({1, cuts, [this, cuts](Index, int segment) {
                        multiply_few(share(tiles_, segment, cuts), share(tiles_, segment + 1, cuts));
                      }});
  }

  // Copies dz of a block of units to [panel][row][register], with the registers in the order of a
  // gradient.
  void order_as_gradients(Index block) {
    for (Index sum = 0; sum < kSums; ++sum) {
      const Index at = sum * blocks_ + block;
      const float* from = call_.dz + block * rows_ * kPanel + sum * kLanes;
      float* to = right_->get() + at / kSums * rows_ * kPanel + at % kSums * kLanes;
      for (Index row = 0; row < rows_; ++row) store(to + row * kPanel, load(from + row * kPanel));
    }
  }

  void multiply_few(Index first_tile, Index last_tile) const {
    alignas(64) float spilled[kRows * kPanel];
    for (Index tile = first_tile; tile < last_tile; ++tile) {
      const Index first = tile * kRows, count = std::min<Index>(kRows, columns_ - first);
      Weight* to[kRows];
      for (Index r = 0; r < count; ++r) {
        for_each_gradient(first + r, [&](auto, Weight* row, Index) { to[r] = row; });
      }
      for (Index panel = 0; panel < blocks_; ++panel) {
        Tile<kRows, kSums> sum;
        sum.clear();
        add_product<kSums>(sum, left(0) + first * rows_, 1, kRows, rows_,
                            right_->get() + panel * rows_ * kPanel);
        sum.spill(spilled, kPanel);
        for (Index r = 0; r < count; ++r) {
          for (Index v = 0; v < kPanel; v += kLanes) {
            store(to[r] + panel * kPanel + v, load(spilled + r * kPanel + v));
          }
        }
      }
    }
  }

  Index depth_of(Index chunk) const { return std::min(kDepth, rows_ - chunk * kDepth); }

  float* left(Index place) const {
    return left_.get() + place * kDepth * tiles_ * kColumns / kNumbers * Products::kParts;
  }

  // Returns pairs of rows of dz, [pair][sum][lane], in the order of Products::place().
  float* right(Index place, Index block) const {
    return right_->get() + (place * blocks_ + block) * kPairs * kPanel * Products::kParts;
  }

  // Packs the chunk `chunk` of rows as [tile of columns][row][column of the tile].
  void pack(Index chunk, Index place) {
    const Index depth = depth_of(chunk);
    float* to = left(place);
    const Index ones = columns_ - 1;
    const Buffers::Buffer buffer(*buffers_);
    float* const row = buffer.get();
    std::fill_n(row + ones, tiles_ * kRows - ones, 0.0f);
    row[ones] = 1.0f;
    for (Index k = 0; k < depth; ++k) {
      gather(chunk * kDepth + k, row);
      for (Index tile = 0; tile < tiles_; ++tile) {
        std::memcpy(to + (tile * depth + k) * kRows, row + tile * kRows, kRows * sizeof(float));
      }
    }
  }

  // Packs the chunk `chunk` of rows as [column][part][row], and dz as well. Both are rounded or
  // split. If the last chunk is not full, its missing rows are zeros.
  void pack_rounded(Index chunk, Index place) {
    const Index depth = depth_of(chunk), width = tiles_ * kColumns;
    const Index ones = columns_ - 1;
    const Buffers::Buffer buffer(*buffers_);
    float* const rows = buffer.get();  // [kSquare][width]
    if constexpr (kSplitsFactors<Products>) {
      std::fill_n(largest_left(place, 0), width, std::uint16_t{0});
    }
    for (Index first = 0; first < kDepth; first += kSquare) {
      for (Index k = 0; k < kSquare; ++k) {
        float* const row = rows + k * width;
        std::fill_n(row, width, 0.0f);
        if (first + k >= depth) continue;
        gather(chunk * kDepth + first + k, row);
        row[ones] = 1.0f;
      }
      for (Index column = 0; column < width; column += kLanes) {
        const auto store_square = [&](const auto& pair_rows, Index part) {
          Vector square[kLanes];
#pragma GCC unroll 16
          for (Index pair = 0; pair < kLanes; ++pair) {
            const float* row = rows + 2 * pair * width + column;
            square[pair] = pair_rows(load(row), load(row + width));
          }
          transpose<kLanes / 2>(square);
#pragma GCC unroll 16
          for (Index lane = 0; lane < kLanes; ++lane) {
            const Index number = ((column + lane) * Products::kParts + part) * kDepth + first;
            store(left(place) + number / 2, square[lane]);
          }
        };
        if constexpr (kSplitsFactors<Products>) {
          typename Products::Seen seen;
          for (Index k = 0; k < kSquare; ++k) seen.see(load(rows + k * width + column));
          seen.raise(largest_left(place, column));
          for (int part = 0; part < Products::kParts; ++part) {
            store_square(
                [part](Vector lower, Vector upper) {
                  return paired(Products::split(lower).part[part], Products::split(upper).part[part]);
                },
                part);
          }
        } else {
          store_square([](Vector lower, Vector upper) { return paired(lower, upper); }, 0);
        }
      }
    }
    for (Index block = 0; block < blocks_; ++block) {
      const float* dz = call_.dz + (block * rows_ + chunk * kDepth) * kPanel;
      float* const to = right(place, block);
      typename Products::Seen seen, not_gradients;
      for (Index pair = 0; pair < kPairs; ++pair) {
        const Index here = depth - 2 * pair;
        for (Index sum = 0; sum < kSums; ++sum) {
          const float* from = dz + 2 * pair * kPanel + sum * kLanes;
          Products::store_pair(to, pair, sum, kSums, here < 1 ? Vector{} : load(from),
                               here < 2 ? Vector{} : load(from + kPanel),
                               is_gradient(sum) ? seen : not_gradients);
        }
      }
      if constexpr (kSplitsFactors<Products>) {
        largest_right_[static_cast<std::size_t>(place * blocks_ + block)] = seen.upper_half();
      }
    }
  }

  // Returns whether dz holds the gradient of a sum in its place, and not the reset h.
  static constexpr bool is_gradient(Index sum) {
    if constexpr (Cell::kStages > 1) return sum != Cell::kResetHidden;
    return true;
  }

  // Writes the left operand of the row `at` of all rows, without the 1. At padding, it writes zeros,
  // because padding may contain NaN.
  void gather(Index at, float* row) const {
    const auto [t, b] = place_of_row(layer_, at);
    if (call_.mask != nullptr && !is_there(call_.mask[t * layer_.batch + b])) {
      std::fill_n(row, columns_ - 1, 0.0f);
      return;
    }
    const Index before = layer_.reverse ? t + 1 : t - 1;
    const bool first = before < 0 || before == layer_.timesteps;
    copy_row(x_.at(t, b), layer_.inputs, row);
    if (first && forgets_initial(layer_, call_.mask, b)) {
      std::fill_n(row + layer_.inputs, layer_.units, 0.0f);
    } else {
      copy_row(first ? call_.h0 + b * layer_.units : hidden_.at(before, b), layer_.units,
               row + layer_.inputs);
    }
    if constexpr (Cell::kStages > 1) {
      float* const to = row + layer_.inputs + layer_.units;
      for (Index block = 0; block < blocks_; ++block) {
        const float* dz = call_.dz + (block * rows_ + at) * kPanel;
        store_part(to + block * kLanes, load(dz + Cell::kResetHidden * kLanes),
                   layer_.units - block * kLanes);
      }
    }
  }

  // Calls work(columns, row, place) for each gradient that a column of the left operand gives: the
  // sums and gates of the gradient, its row, and its number among all rows.
  template <class Work>
  LSTM_IMPL_INLINE void for_each_gradient(Index column, const Work& work) const {
    const Index inputs = layer_.inputs, units = layer_.units;
    if (column < inputs) {
      work(typename Cell::OfInput{}, call_.dkernel + column * width(), column);
    } else if (column < inputs + units) {
      work(typename Cell::template OfState<0>{},
           call_.drecurrent_kernel + (column - inputs) * width(), column);
    } else if (Cell::kStages > 1 && column < inputs + 2 * units) {
      work(typename Cell::template OfState<Cell::kStages - 1>{},
           call_.drecurrent_kernel + (column - inputs - units) * width(), column);
    } else {
      work(typename Cell::OfInput{}, call_.dbias, column);
      if constexpr (Cell::kHasRecurrentBias) {
        work(typename Cell::template OfState<0>{}, call_.drecurrent_bias, column + 1);
      }
    }
  }

  // Returns where the sums of earlier pieces are stored: in the gradient itself, if that consists
  // of floats.
  float* total_row(Weight* gradient, Index place) const {
    if constexpr (kRounds<Weight>) {
      return totals_ ? totals_->get() + place * width() : nullptr;
    } else {
      return gradient;
    }
  }

  // Adds the contribution of a piece to the gradients of one block of units and of some tiles of
  // columns.
  void multiply(Index block, Index first_tile, Index last_tile, Index from, Index chunks) {
    const Index unit = block * kLanes;
    // The sums are side by side until the piece is done. In a gradient, each of these rows is in
    // another page of memory.
    const Buffers::Buffer sums(*buffers_);
    if constexpr (kRoundsFactors<Products>) {
      for (Index tile = first_tile; tile < last_tile;) {
        const Index end = end_of_same_sums(tile, last_tile);
        float* kept = sums.get();
        if constexpr (kSplitsFactors<Products>) {
          kept += 2 * tiles_ * kColumns;
          multiply_split(sums.get(), kept, block, tile, end, from, chunks);
        } else {
          with_sums(tile, [&](auto columns) {
            multiply_rounded<decltype(columns)>(kept, block, tile, end, chunks);
          });
        }
        add_rows(kept, tile, end, unit, from, chunks);
        tile = end;
      }
      return;
    }
    for (Index place = 0; place < chunks; ++place) {
      const Index chunk = from + place, depth = depth_of(chunk);
      const float* dz = call_.dz + (block * rows_ + chunk * kDepth) * kPanel;
      for (Index tile = first_tile; tile < last_tile; ++tile) {
        float* kept = sums.get() + (tile - first_tile) * kColumns * kPanel;
        with_sums(tile, [&](auto columns) {
          using Sums = decltype(columns);
          constexpr Index kOffset = Sums::kFirst * kLanes;
          multiply_columns<Sums::kCount>(kept + kOffset, place > 0,
                                         left(place) + tile * depth * kRows, depth, dz + kOffset);
        });
        if (place + 1 == chunks) add_rows(kept, tile, tile + 1, unit, from, chunks);
      }
    }
  }

  // Adds up the products of all chunks of a piece, for some tiles that have gradients of the same
  // sums.
  template <class Sums>
  void multiply_rounded(float* sums, Index block, Index first_tile, Index last_tile, Index chunks) {
    using Part = PanelPart<kSums, Sums::kFirst, Sums::kCount, kPanel>;
    const auto product = [&](Index place) {
      const auto* rows = reinterpret_cast<const BFloat16*>(left(place));
      return Factors<BFloat16>{rows + first_tile * kColumns * kDepth, kDepth, right(place, block),
                               kPairs};
    };
    const Index rows = (last_tile - first_tile) * kColumns;
    float* const to = sums + Sums::kFirst * kLanes;
    // Takes two chunks at a time, so that the sums are read and written half as often.
    for (Index place = 0; place < chunks; place += 2) {
      const Start start{place == 0 ? nullptr : to, kPanel};
      if (place + 1 < chunks) {
        Products::template multiply<Part>(to, start, rows, {product(place), product(place + 1)});
      } else {
        Products::template multiply<Part>(to, start, rows, {product(place)});
      }
    }
  }

  // The same for split numbers. Columns whose numbers cannot be multiplied in parts are multiplied
  // as floats. scratch: room for two rows of the left operand.
  void multiply_split(float* scratch, float* sums, Index block, Index first_tile, Index last_tile,
                      Index from, Index chunks) const {
    const Index rows = (last_tile - first_tile) * kColumns, across = kDepth * Products::kParts;
    with_sums(first_tile, [&](auto columns) {
      using Sums = decltype(columns);
      using Part = PanelPart<kSums, Sums::kFirst, Sums::kCount, kPanel>;
      float* const to = sums + Sums::kFirst * kLanes;
      for (Index place = 0; place < chunks; ++place) {
        const auto* lefts = reinterpret_cast<const BFloat16*>(left(place));
        Products::template multiply<Part>(
            to, {place == 0 ? nullptr : to, kPanel}, rows,
            {{lefts + first_tile * kColumns * across, across, right(place, block), kPairs}});
      }
    });
    float* const unusual = scratch + tiles_ * kColumns;  // whether each column is: 1 or 0
    bool any = false;
    for (Index k = 0; k < rows; ++k) {
      bool usual = true;
      for (Index place = 0; place < chunks; ++place) {
        const std::size_t of_block = static_cast<std::size_t>(place * blocks_ + block);
        usual = usual && are_usual(*largest_left(place, first_tile * kColumns + k),
                                   largest_right_[of_block]);
      }
      unusual[k] = usual ? 0.0f : 1.0f;
      any = any || !usual;
      if (!usual) std::fill_n(sums + k * kPanel, kPanel, 0.0f);
    }
    if (!any) return;
    for (Index chunk = from; chunk < from + chunks; ++chunk) {
      add_floats(scratch, unusual, sums, block, first_tile * kColumns, rows, chunk);
    }
  }

  // Computes sums += products of a chunk's floats, for those of the `count` columns from `first` on
  // that are unusual. row: room for a row of the left operand.
  LSTM_IMPL_ONCE void add_floats(float* row, const float* unusual, float* sums, Index block,
                                 Index first, Index count, Index chunk) const {
    const Index ones = columns_ - 1;
    std::fill_n(row + ones, tiles_ * kColumns - ones, 0.0f);
    row[ones] = 1.0f;
    for (Index k = 0; k < depth_of(chunk); ++k) {
      const Index at = chunk * kDepth + k;
      gather(at, row);
      const float* dz = call_.dz + (block * rows_ + at) * kPanel;
      for (Index column = 0; column < count; ++column) {
        if (unusual[column] == 0) continue;
        float* const to = sums + column * kPanel;
        for (Index sum = 0; sum < kPanel; sum += kLanes) {
          store(to + sum, load(to + sum) + row[first + column] * load(dz + sum));
        }
      }
    }
  }

  // Returns the largest magnitude in a column of the split left operand.
  std::uint16_t* largest_left(Index place, Index column) {
    return largest_left_.data() + place * tiles_ * kColumns + column;
  }
  const std::uint16_t* largest_left(Index place, Index column) const {
    return largest_left_.data() + place * tiles_ * kColumns + column;
  }

  // Returns the first column of each part of a left operand: of x, of h, of the reset h (if there is
  // one), and of the 1.
  std::array<Index, 4> firsts() const {
    const Index inputs = layer_.inputs, units = layer_.units;
    return {0, inputs, inputs + units, columns_ - 1};
  }

  // Returns which of these parts a tile belongs to, or -1 for a tile that has columns of several
  // parts or the 1.
  int kind(Index tile) const {
    const Index first = tile * kColumns, end = first + kColumns;
    const auto begin = firsts();
    for (int k = 0; k < 3; ++k) {
      if (first >= begin[static_cast<std::size_t>(k)] &&
          end <= begin[static_cast<std::size_t>(k + 1)]) {
        return k;
      }
    }
    return -1;
  }

  // Returns the end of the tiles from `tile` on that have gradients of the same sums.
  Index end_of_same_sums(Index tile, Index last) const {
    if constexpr (Cell::kGates == kSums) return last;
    const int first = kind(tile);
    do {
      ++tile;
    } while (tile < last && kind(tile) == first);
    return tile;
  }

  // Calls work(columns) with the sums whose gradients the columns of a tile give.
  template <class Work>
  LSTM_IMPL_INLINE void with_sums(Index tile, const Work& work) const {
    if constexpr (Cell::kGates < kSums) {
      const int found = kind(tile);
      if (found == 0) return work(typename Cell::OfInput{});
      if (found == 1) return work(typename Cell::template OfState<0>{});
      if (found == 2) return work(typename Cell::template OfState<Cell::kStages - 1>{});
    }
    work(Columns<0, 0, 1, 2, 3>{});
  }

  // Adds the sums of a piece, [column][sum][lane], to the gradients of some tiles of columns.
  void add_rows(const float* sums, Index first_tile, Index last_tile, Index unit, Index from,
                Index chunks) const {
    const Index first = first_tile * kColumns, last = std::min(last_tile * kColumns, columns_);
    for (Index column = first; column < last; ++column) {
      add_row(sums + (column - first) * kPanel, column, unit, from, chunks);
    }
  }

  // Adds the sums of a piece, [sum][lane], to the gradient of one column and one block of units.
  void add_row(const float* sums, Index column, Index unit, Index from, Index chunks) const {
    const Index count = layer_.units - unit;
    const bool last = from + chunks == blocks_of(rows_, kDepth);
    for_each_gradient(column, [&](auto columns, Weight* gradient, Index place) {
      using Sums = decltype(columns);
      float* const total = total_row(gradient, place);
      for (std::size_t k = 0; k < Sums::kCount; ++k) {
        const Index offset = Sums::kGates[k] * layer_.units + unit;
        Vector value = load(sums + (Sums::kFirst + static_cast<Index>(k)) * kLanes);
        if (from > 0) value += load_part(total + offset, count);
        if (last) {
          store_part(gradient + offset, value, count);
        } else {
          store_part(total + offset, value, count);
        }
      }
    });
  }

  const Backward<Value, Weight>& call_;
  const Layer& layer_;
  const Index blocks_, rows_, columns_, tiles_, piece_;
  const Rows<const Value> x_, hidden_;
  const bool few_;  // rows, and units that fill registers
  const Floats left_;
  std::optional<Floats> right_;   // dz in another order, or rounded or split
  // The largest magnitudes of the split left operand, [chunk][column], and of the split right
  // operand, [chunk][block].
  std::vector<std::uint16_t> largest_left_, largest_right_;
  std::optional<Floats> totals_;  // [row of a gradient][gate][unit]
  std::optional<Buffers> buffers_;  // of a row of [x, h before, 1], or of a segment's sums
};

// Returns whether the gradients of a layer read the kernels only to pack them, which they can do in
// either order. Products in parts read them again where a number cannot be split.
template <class Value>
bool gradients_take_transposed(const Layer& layer) {
  return !has_few_rows(layer) && (kRounds<Value> || !splits_backward(layer));
}

// Does the backward pass of a call that has sequences: first the recurrence, then the gradients of
// the weights.
template <class Cell, class Products, class Value, class Weight>
void backward_by(const Backward<Value, Weight>& call, const Pool& pool) {
  BackwardPass<Cell, Value, Weight, Products> recurrence(call, pool);
  WeightGradients<Cell, Value, Weight, Products> weights(call);
  const int workers = std::max(recurrence.workers(), workers_for(weights.multiplications(), pool));
  std::vector<Phase> phases;
  recurrence.add_phases(phases);
  weights.add_phases(phases, workers);
  const Index columns = call.layer.inputs + call.layer.units;
  ThreadTeam::run(std::move(phases), workers,
                  call_work(call.layer, call.layer.units) + call_work(call.layer, columns), pool);
  recurrence.finish();
}

// Computes the gradient of the input, which is dz times the transpose of the kernel. This class has
// what is the same for all Products.
template <class Cell, class Value, class Weight, class Products>
class InputGradientLayout {
 protected:
  InputGradientLayout(const InputGradient<Value, Weight>& call, const Pool& pool, bool unpacked)
      : call_(call),
        layer_(call.layer),
        blocks_(unit_blocks(layer_)),
        rows_(layer_.rows()),
        multiplications_(static_cast<double>(rows_) * static_cast<double>(layer_.gates() * layer_.units) *
                         static_cast<double>(layer_.inputs)),
        workers_(workers_for(multiplications_, pool)),
        columns_(blocks_of(layer_.inputs, kLanes)),
        groups_(blocks_of(columns_, kMostWidth)),
        dx_(rows_of(layer_, call.dx, layer_.inputs)),
        kernel_(unpacked ? 0 : groups_ * group_size()) {}

  // The sums of a block of units that the input contributes to, side by side.
  using Sums = typename Cell::OfInput;
  static constexpr Index kOfBlock = Sums::kCount * kLanes, kOffset = Sums::kFirst * kLanes;

  // The number of numbers in a row of dz, which is also the number of rows in a panel.
  Index numbers() const { return padded_registers<Products, Sums>(blocks_) * kLanes; }
  Index depth() const { return numbers() / Products::kNumbers; }

  // The number of floats in a panel.
  Index group_size() const { return kMostWidth * kLanes * depth() * Products::kParts; }

  Index width_of(Index group) const { return std::min(kMostWidth, columns_ - group * kMostWidth); }

  float* panel(Index group) const {
    return kernel_.get() + group * group_size();
  }

  // Packs the kernel.
  Phase packing() const {
    return {1, static_cast<int>(groups_), [this](Index, int group) {
              const auto pack = call_.transposed
                                    ? pack_rows_of_transpose<Products, Sums, Cell::kGates, Weight>
                                    : pack_transposed<Products, Sums, Cell::kGates, Weight>;
              [[maybe_unused]] const auto seen =
                  pack(call_.kernel, layer_.inputs, layer_.units, group * kMostWidth * kLanes,
                       width_of(group), panel(group));
              if constexpr (kSplitsFactors<Products>) of_kernel_.see(seen.upper_half());
            }};
  }

  // Returns the beginning of a row of the gradient.
  Value* row_of(Index row) const { return row_at(layer_, dx_, row); }

  // Returns a row of dz of a block.
  const float* dz(Index block, Index row) const {
    return call_.dz + (block * rows_ + row) * kPanel + kOffset;
  }

  const InputGradient<Value, Weight>& call_;
  const Layer& layer_;
  const Index blocks_, rows_;
  const double multiplications_;
  const int workers_;
  const Index columns_, groups_;  // registers of a row of the gradient, and tiles of them
  const Rows<Value> dx_;
  const Floats kernel_;  // transposed, in panels of kMostWidth registers' width
  mutable SharedMagnitude of_kernel_;  // the largest in the kernel, if that is split
};

// Computes the gradient of the input by products of floats.
template <class Cell, class Value, class Weight>
class InputGradients : InputGradientLayout<Cell, Value, Weight, OfFloats> {
  using Layout = InputGradientLayout<Cell, Value, Weight, OfFloats>;
  using Layout::blocks_, Layout::call_, Layout::columns_, Layout::dz, Layout::groups_;
  using Layout::kOfBlock, Layout::layer_, Layout::multiplications_, Layout::packing, Layout::panel;
  using Layout::row_of, Layout::rows_, Layout::width_of, Layout::workers_;

 public:
  InputGradients(const InputGradient<Value, Weight>& call, const Pool& pool)
      : Layout(call, pool, reads_in_place(call.layer)), few_(reads_in_place(call.layer)) {}

  void run(const Pool& pool) {
    if (few_) {
      const Phase phase{1, static_cast<int>(columns_),
                        [this](Index, int column) { multiply_unpacked(column); }};
      return ThreadTeam::run({phase}, workers_, multiplications_, pool);
    }
    // The number of rows whose dz, kDepth columns of each, stays in the second cache while all
    // groups are multiplied with it.
    constexpr Index kMost = 192, kLeast = 24;
    const Index size =
        std::clamp(blocks_of(rows_, 4 * static_cast<Index>(workers_)), kLeast, kMost);
    // Holds the sums, [row][column], if the gradient itself cannot hold them.
    if (kRounds<Value> && blocks_ > kBlocks) totals_.emplace(workers_, size * columns_ * kLanes);
    std::vector<Phase> phases;
    phases.push_back(packing());
    phases.push_back(
        {1, static_cast<int>(blocks_of(rows_, size)), [this, size](Index, int segment) {
           multiply(segment * size, std::min(rows_, (segment + 1) * size));
         }});
    ThreadTeam::run(std::move(phases), workers_, multiplications_, pool);
  }

 private:
  static constexpr Index kBlocks = kDepth / kPanel;  // of units, at once

  static bool reads_in_place(const Layer& layer) {
    return has_few_rows(layer) && layer.inputs % kLanes == 0;
  }

  void multiply_unpacked(Index column) {
    const Weight* kernel = call_.kernel + column * kLanes * Cell::kGates * layer_.units;
    for (Index row = 0; row < rows_; ++row) {
      store(row_of(row) + column * kLanes,
            times_transpose<typename Cell::OfInput, Cell::kGates>(call_.dz + row * kPanel, layer_,
                                                                  kernel));
    }
  }

  void multiply(Index first_row, Index last_row) {
    std::optional<Buffers::Buffer> buffer;
    if (totals_) buffer.emplace(*totals_);
    float* const totals = buffer ? buffer->get() : nullptr;
    for (Index block = 0; block < blocks_; block += kBlocks) {
      const Index end = std::min(blocks_, block + kBlocks);
      for (Index group = 0; group < groups_; ++group) {
        with_constant<kMostWidth>(static_cast<int>(width_of(group)), [&](auto width) {
          for_each_tile<kRows>(first_row, last_row, [&](auto rows, Index row) {
            tile<decltype(rows)::value, decltype(width)::value>(row, group, block, end, totals,
                                                                row - first_row);
          });
        });
      }
    }
  }

  template <int kTile, int kWidth>
  void tile(Index row, Index group, Index first_block, Index last_block, float* totals,
            Index first_total) {
    const Index column = group * kMostWidth * kLanes;
    Value* to[kTile];
    for (int r = 0; r < kTile; ++r) to[r] = row_of(row + r) + column;
    alignas(64) float spilled[kTile * kWidth * kLanes];
    multiply_blocks<kTile, kWidth>(spilled, nullptr, 0, dz(first_block, row), rows_ * kPanel,
                                   panel(group) + first_block * kOfBlock * kWidth * kLanes,
                                   kOfBlock * kWidth * kLanes, kOfBlock, last_block - first_block);
    const Index count = layer_.inputs - column;
    for (int r = 0; r < kTile; ++r) {
      for (int v = 0; v < kWidth; ++v) {
        Value* place = to[r] + v * kLanes;
        Vector sum = load(spilled + (r * kWidth + v) * kLanes);
        if constexpr (kRounds<Value>) {
          const Index at = ((first_total + r) * columns_ + group * kMostWidth + v) * kLanes;
          if (first_block > 0) sum += load(totals + at);
          if (last_block < blocks_) {
            store(totals + at, sum);
            continue;
          }
        } else if (first_block > 0) {
          sum += load_part(place, count - v * kLanes);
        }
        store_part(place, sum, count - v * kLanes);
      }
    }
  }

  const bool few_;  // rows
  std::optional<Buffers> totals_;
};

// Computes the gradient of the input by products of numbers that are rounded to bfloat16.
template <class Cell, class Value, class Weight, class Products>
class RoundedInputGradients : InputGradientLayout<Cell, Value, Weight, Products> {
  using Layout = InputGradientLayout<Cell, Value, Weight, Products>;
  using Layout::blocks_, Layout::depth, Layout::dz, Layout::groups_, Layout::kOfBlock;
  using Layout::layer_, Layout::multiplications_, Layout::numbers, Layout::packing, Layout::panel;
  using Layout::row_of, Layout::rows_, Layout::width_of, Layout::workers_;

 public:
  RoundedInputGradients(const InputGradient<Value, Weight>& call, const Pool& pool)
      : Layout(call, pool, false),
        width_(Products::row_width(numbers())),
        size_(Products::kMostRows * tiles_in_segment(rows_, workers_)),
        buffers_(workers_, size_ * (width_ / 2 + kPanel)) {}

  void run(const Pool& pool) {
    std::vector<Phase> phases;
    phases.push_back(packing());
    phases.push_back({1, static_cast<int>(blocks_of(rows_, size_)), [this](Index, int segment) {
                        multiply(segment * size_, std::min(rows_, (segment + 1) * size_));
                      }});
    phases.back().leave = Products::release;
    ThreadTeam::run(std::move(phases), workers_, multiplications_, pool);
  }

 private:
  // Returns how many times Products::kMostRows rows of dz are in a segment. All rows of a segment
  // are multiplied with every panel of the kernel and stay in the second cache meanwhile, so there
  // are at most four times as many. There are fewer if each thread would get less than four
  // segments, so that no thread waits long for the last one.
  static Index tiles_in_segment(Index rows, int workers) {
    constexpr Index kMostTiles = 4;
    return std::clamp<Index>(blocks_of(rows, 4 * workers * Products::kMostRows), 1, kMostTiles);
  }

  void multiply(Index first_row, Index last_row) {
    const Buffers::Buffer buffer(buffers_);
    const Index rows = last_row - first_row;
    float* const sums = buffer.get();
    BFloat16* const left = reinterpret_cast<BFloat16*>(sums + size_ * kPanel);
    for (Index r = 0; r < rows; ++r) {
      BFloat16* const to = left + r * width_;
      for (Index block = 0; block < blocks_; ++block) {
        const float* from = dz(block, first_row + r);
        for (Index at = 0; at < kOfBlock; at += kLanes) {
          store(to + block * kOfBlock + at, load(from + at));
        }
      }
      std::fill(to + blocks_ * kOfBlock, to + width_, BFloat16{0});
    }
    for (Index group = 0; group < groups_; ++group) {
      with_constant<kMostWidth>(static_cast<int>(width_of(group)), [&](auto constant) {
        constexpr int kWidth = decltype(constant)::value;
        Products::template multiply<PanelPart<kWidth>>(
            sums, {nullptr, 0}, rows, {Factors<BFloat16>{left, width_, panel(group), depth()}});
        for (Index r = 0; r < rows; ++r) {
          const Index column = group * kMostWidth * kLanes;
          Value* const to = row_of(first_row + r) + column;
          for (Index v = 0; v < kWidth; ++v) {
            store_part(to + v * kLanes, load(sums + (r * kWidth + v) * kLanes),
                       layer_.inputs - column - v * kLanes);
          }
        }
      });
    }
  }

  const Index width_;      // numbers of a row of dz
  const Index size_;       // rows of a segment
  const Buffers buffers_;  // of a segment's sums and its rows of dz
};

// Computes the gradient of the input by products of split floats. Rows of dz whose numbers cannot
// be multiplied in parts are multiplied as floats.
template <class Cell, class Products>
class SplitInputGradients : InputGradientLayout<Cell, float, float, Products> {
  using Layout = InputGradientLayout<Cell, float, float, Products>;
  using typename Layout::Sums;
  using Layout::blocks_, Layout::call_, Layout::depth, Layout::dz, Layout::groups_;
  using Layout::kOfBlock, Layout::layer_, Layout::multiplications_, Layout::numbers;
  using Layout::of_kernel_, Layout::packing, Layout::panel, Layout::row_of, Layout::rows_;
  using Layout::width_of, Layout::workers_;

 public:
  SplitInputGradients(const InputGradient<float>& call, const Pool& pool)
      : Layout(call, pool, false),
        sums_(workers_, Products::kMostRows * kPanel),
        lefts_(workers_ * Products::kMostRows, numbers()) {}

  void run(const Pool& pool) {
    lefts_.clear();
    std::vector<Phase> phases;
    phases.push_back(packing());
    const auto segments = static_cast<int>(blocks_of(rows_, Products::kMostRows));
    phases.push_back({1, segments, [this](Index, int segment) {
                        const Index first = segment * Products::kMostRows;
                        multiply(first, std::min(Products::kMostRows, rows_ - first));
                      }});
    phases.back().leave = Products::release;
    ThreadTeam::run(std::move(phases), workers_, multiplications_, pool);
  }

 private:
  void multiply(Index first_row, Index rows) {
    const Buffers::Buffer buffer(sums_);
    float* const sums = buffer.get();
    const Index first_left = static_cast<Index>(buffer.number()) * Products::kMostRows;
    for (Index r = 0; r < rows; ++r) {
      for (Index block = 0; block < blocks_; ++block) {
        for (Index at = 0; at < kOfBlock; at += kLanes) {
          lefts_.store(first_left + r, block * kOfBlock + at, load(dz(block, first_row + r) + at));
        }
      }
    }
    for (Index group = 0; group < groups_; ++group) {
      with_constant<kMostWidth>(static_cast<int>(width_of(group)), [&](auto constant) {
        constexpr int kWidth = decltype(constant)::value;
        Products::template multiply<PanelPart<kWidth>>(
            sums, {nullptr, 0}, rows,
            {{lefts_.row(first_left), lefts_.across(), panel(group), depth()}});
        for (Index r = 0; r < rows; ++r) {
          const std::uint16_t largest = lefts_.largest_magnitude(first_left + r);
          const bool usual = are_usual(largest, of_kernel_.get());
          for (Index v = 0; v < kWidth; ++v) {
            const Index column = (group * kMostWidth + v) * kLanes, count = layer_.inputs - column;
            const float* const sum = sums + (r * kWidth + v) * kLanes;
            store_part(row_of(first_row + r) + column,
                       usual ? load(sum) : multiply_floats(first_row + r, column), count);
          }
        }
      });
    }
  }

  // Returns the gradients of kLanes columns of a row of the input.
  Vector multiply_floats(Index row, Index column) const {
    const float* const kernel = call_.kernel + column * Cell::kGates * layer_.units;
    return times_any_transpose<Sums, Cell::kGates>(call_.dz + row * kPanel, layer_, kernel,
                                                   std::min(kLanes, layer_.inputs - column));
  }

  const Buffers sums_;  // of a segment
  const PartRows<Products> lefts_;  // dz of a segment for each thread
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_GRADIENTS_H_
