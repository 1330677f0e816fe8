// The parts of floats as the kernels make them, for a test to call.
#include "float_parts.h"

#include <vector>

#include "cell.h"
#include "part_products.h"
#include "part_rows.h"

// Writes the parts [kMostParts, count] of `count` numbers, which fill whole registers.
extern "C" void split(const float* from, long count, float* parts) {
  using lstm_impl::kLanes;
  for (long k = 0; k < count; k += kLanes) {
    const lstm_impl::FloatParts found = lstm_impl::split(lstm_impl::load(from + k));
    for (long part = 0; part < lstm_impl::kMostParts; ++part) {
      lstm_impl::store(parts + part * count + k, found.part[part]);
    }
  }
}

// Whether the products of parts are right for a row and a matrix, in whole registers.
extern "C" int are_usual(const float* left, long lefts, const float* right, long rights) {
  const auto largest = [](const float* from, long count) {
    lstm_impl::LargestMagnitude found;
    for (long k = 0; k < count; k += lstm_impl::kLanes) found.see(lstm_impl::load(from + k));
    return found.upper_half();
  };
  return lstm_impl::are_usual(largest(left, lefts), largest(right, rights)) ? 1 : 0;
}

// Products of a left operand [rows, depth] and a right one [depth, columns()], by tiles that C++
// emulates: six of three parts, or three of two.
template <int kParts>
static void multiply_by(long rows, long depth, const float* left, const float* right, float* sums) {
  using lstm_impl::Index, lstm_impl::kLanes, lstm_impl::kPanel;
  using Products = lstm_impl::PartsByTiles<kParts>;
  const Index step = 2 * Products::kPairs;
  const Index pairs = lstm_impl::blocks_of(depth, step) * Products::kPairs;
  const lstm_impl::PartRows<Products> lefts(rows, depth);
  for (Index row = 0; row < rows; ++row) {
    for (Index at = 0; at < lefts.width(); at += kLanes) {
      const Index count = depth - at;
      lefts.store(row, at, count > 0 ? lstm_impl::load_part(left + row * depth + at, count)
                                     : lstm_impl::Vector{});
    }
  }
  std::vector<float> panel(static_cast<std::size_t>(pairs * kParts * kPanel));
  lstm_impl::pack_pairs<Products, lstm_impl::LSTM::OfInput, 4>(right, depth, kLanes, 0, 1, pairs,
                                                              panel.data());
  using Part = lstm_impl::PanelPart<lstm_impl::kSums>;
  Products::template multiply<Part>(sums, {nullptr, 0}, rows,
                                 {{lefts.row(0), lefts.across(), panel.data(), pairs}});
  Products::release();
}

extern "C" long columns() { return lstm_impl::kPanel; }

extern "C" void multiply(int parts, long rows, long depth, const float* left, const float* right,
                         float* sums) {
  (parts == 2 ? multiply_by<2> : multiply_by<3>)(rows, depth, left, right, sums);
}
