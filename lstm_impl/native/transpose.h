// Transposes a matrix in memory, such as PyTorch's weights [4 * units, inputs], which the kernels
// read as [inputs, 4 * units].
#ifndef LSTM_IMPL_NATIVE_TRANSPOSE_H_
#define LSTM_IMPL_NATIVE_TRANSPOSE_H_

#include <algorithm>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels.h"
#include "memory.h"
#include "numbers.h"
#include "panels.h"
#include "thread_team.h"
#include "vector.h"

namespace lstm_impl {

// Stores the first `count` lanes, at most kLanes. The lanes hold numbers that load_part() has read
// and that nothing has changed. Therefore the function does not need to round them to bfloat16,
// which would replace denormal numbers by zeros.
template <class Value>
LSTM_IMPL_INLINE void store_unchanged(Value* to, Vector value, Index count) {
  if constexpr (std::is_same_v<Value, float>) {
    store_part(to, value, count);
  } else {
    Words words;
    std::memcpy(&words, &value, sizeof words);
    const Halves halves = __builtin_convertvector(words >> 16, Halves);
    if (count >= kLanes) {
      std::memcpy(to, &halves, sizeof halves);
    } else {
      store_some(to, halves, count);
    }
  }
}

// Transposes a square of kLanes rows of a matrix [rows, columns].
template <class Value>
LSTM_IMPL_INLINE void transpose_square(const Value* from, Index rows, Index columns, Value* to) {
  Vector square[kLanes];
#pragma GCC unroll 16
  for (Index r = 0; r < kLanes; ++r) square[r] = load(from + r * columns);
  transpose<kLanes / 2>(square);
#pragma GCC unroll 16
  for (Index c = 0; c < kLanes; ++c) store_unchanged(to + c * rows, square[c], kLanes);
}

// Transposes the rest at an edge of a matrix [rows, columns]: at most kLanes rows and columns. The
// function is not inlined, because the loop over full squares would lose registers to it and take
// 1.2 times as long.
template <class Value>
__attribute__((noinline)) void transpose_edge(const Value* from, Index height, Index width,
                                              Index rows, Index columns, Value* to) {
  Vector square[kLanes];
#pragma GCC unroll 16
  for (Index r = 0; r < kLanes; ++r) {
    square[r] = r < height ? load_part(from + r * columns, width) : Vector{};
  }
  transpose<kLanes / 2>(square);
#pragma GCC unroll 16
  for (Index c = 0; c < kLanes; ++c) {
    if (c < width) store_unchanged(to + c * rows, square[c], height);
  }
}

// Transposes the columns [first, last) of a matrix [rows, columns], by squares.
template <class Value>
void transpose_columns(const Value* from, Index rows, Index columns, Index first, Index last,
                       Value* to) {
  // The number of rows that are transposed before the next ones. On Zen 4, 64 rows take 0.9 times
  // as long as 16 rows for a matrix of 1024x256, and 1.2 times as long for its transpose.
  const Index tall = rows > columns ? 64 : kLanes;
  for (Index top = 0; top < rows; top += tall) {
    const Index bottom = std::min(rows, top + tall);
    for (Index column = first; column < last; column += kLanes) {
      const Index width = std::min(kLanes, last - column);
      for (Index row = top; row < bottom; row += kLanes) {
        const Value* source = from + row * columns + column;
        Value* target = to + column * rows + row;
        const Index height = std::min(kLanes, bottom - row);
        if (height == kLanes && width == kLanes) {
          transpose_square(source, rows, columns, target);
        } else {
          transpose_edge(source, height, width, rows, columns, target);
        }
      }
    }
  }
}

// Transposes a matrix [rows, columns] to [columns, rows]. The two must not overlap.
template <class Value>
void transpose_matrix(const Value* from, Index rows, Index columns, Value* to, const Pool& pool) {
  // One thread transposes this many numbers in 50 us. Waking another thread takes as long.
  constexpr double kFewNumbers = 1 << 18;
  // Transposing one number takes as long as this many multiplications of a kernel.
  constexpr double kMultiplications = 16;
  const double numbers = static_cast<double>(rows) * static_cast<double>(columns);
  const Index blocks = blocks_of(columns, kLanes);
  const double most = std::min<double>(pool.threads, static_cast<double>(blocks));
  const int workers = static_cast<int>(std::clamp(numbers / kFewNumbers, 1.0, std::max(most, 1.0)));
  if (workers == 1) return transpose_columns(from, rows, columns, 0, columns, to);
  std::vector<Phase> phases;
  phases.push_back({1, workers, [=](Index, int segment) {
                      const Index first = blocks * segment / workers * kLanes;
                      const Index last = blocks * (segment + 1) / workers * kLanes;
                      transpose_columns(from, rows, columns, first, std::min(last, columns), to);
                    }});
  ThreadTeam::run(std::move(phases), workers, kMultiplications * numbers, pool);
}

// A matrix of weights or of their gradients, [rows, columns]. If the caller has its transpose, this
// one is in scratch memory.
template <class Weight>
class Matrix {
 public:
  Matrix(bool transposed, Index rows, Index columns, Weight* callers, const Pool& pool)
      : rows_(rows), columns_(columns), callers_(callers), pool_(pool) {
    if (transposed) {
      const Index bytes = rows * columns * static_cast<Index>(sizeof(Weight));
      scratch_.emplace(blocks_of(bytes, sizeof(float)));
    }
  }

  Weight* get() const { return scratch_ ? numbers() : callers_; }

  // Returns the matrix with the caller's numbers.
  const Weight* read() const {
    if (scratch_) transpose_matrix(callers_, columns_, rows_, numbers(), pool_);
    return get();
  }

  // Copies the matrix that get() points to into that of the caller.
  void write() const {
    if (scratch_) transpose_matrix(get(), rows_, columns_, callers_, pool_);
  }

 private:
  using Number = std::remove_const_t<Weight>;

  Number* numbers() const { return reinterpret_cast<Number*>(scratch_->get()); }

  const Index rows_, columns_;
  Weight* const callers_;
  const Pool& pool_;
  std::optional<Floats> scratch_;
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_TRANSPOSE_H_
