// Products of floats by tiles (AMX). Each float is split into bfloat16 parts (see float_parts.h),
// and pairs of parts are multiplied with sums in float32.
//
// With three parts of each float, six of the nine products are computed: first by first, first by
// second, second by first, first by third, second by second, and third by first. The others
// together are at most a 2^24th of the product, which is as large as the rounding error of a float.
// With two parts, the first three of these products are computed, and the fourth is at most a
// 2^15th of the product.
#ifndef LSTM_IMPL_NATIVE_PART_PRODUCTS_H_
#define LSTM_IMPL_NATIVE_PART_PRODUCTS_H_

#include <algorithm>
#include <initializer_list>

#include "bfloat16_products.h"
#include "float_parts.h"
#include "product.h"
#include "tiles.h"
#include "vector.h"

#if defined(LSTM_IMPL_TILES)

namespace lstm_impl {

// The right operand is a panel of pairs of rows, as that of DotsByTiles. In the place of each tile
// it has kParts tiles: one with the first parts, one with the second parts, and so on. A row of the
// left operand is kParts rows, one after the other.
template <int kPartsOfFloat>
struct PartsByTiles : DotsByTiles {
  static constexpr int kParts = kPartsOfFloat;
  using Seen = LargestMagnitude;
  static_assert(kParts == 2 || kParts == 3);

  // The number of pairs that are summed up before sums are stored. They have as many bytes as those
  // of DotsByTiles.
  static constexpr Index kDepth = DotsByTiles::kDepth / kParts / kPairs * kPairs;

  static constexpr Index place(Index pair, Index at, Index width, int part) {
    return (((pair / kPairs * width + at) * kParts + part) * kPairs + pair % kPairs) * kLanes;
  }

  static LSTM_IMPL_INLINE FloatParts split(Vector value) { return lstm_impl::split(value); }

  // Stores two rows of a right operand as a register of pairs.
  static LSTM_IMPL_INLINE void store_pair(float* panel, Index pair, Index at, Index width,
                                          Vector lower, Vector upper, LargestMagnitude& largest) {
    largest.see(lower);
    largest.see(upper);
    const FloatParts lowers = split(lower), uppers = split(upper);
#pragma GCC unroll 3
    for (int part = 0; part < kParts; ++part) {
      store(panel + place(pair, at, width, part), paired(lowers.part[part], uppers.part[part]));
    }
  }

  // Does the same as DotsByTiles::multiply().
  template <class Part>
  static void multiply(float* sums, Start start, Index rows,
                       std::initializer_list<Factors<Left>> products) {
    for (const Factors<Left>& product : products) {
      for (Index from = 0; from < product.pairs; from += kDepth) {
        const Index here = std::min(kDepth, product.pairs - from);
        add<Part>(sums, start, rows,
                  {product.left + 2 * from, product.across,
                   product.panel + from * Part::kWidth * kLanes * kParts, here});
        start = {sums, Part::kAcross};
      }
    }
  }

 private:
  template <class Part>
  static void add(float* sums, Start start, Index rows, const Factors<Left>& product) {
    each_block<Part::kCount>(rows, [&](Index row, auto tiles_of_rows, auto first, auto columns) {
      constexpr int kTiles = decltype(tiles_of_rows)::value, kFirst = decltype(first)::value;
      add_columns<Part, kTiles, kFirst, decltype(columns)::value>(sums, start, row, product);
    });
  }

  // Multiplies one or two tiles of rows, from `row` on, by `Columns` of the registers that Part
  // names.
  template <class Part, int TilesOfRows, int First, int Columns>
  static void add_columns(float* sums, Start start, Index row, const Factors<Left>& product) {
    constexpr Index kTile = kPairs * kLanes;
    load_sums<TilesOfRows, First, Columns>(start, row);
    const Index width = product.across / kParts;  // numbers of a part of a row
    for (Index pair = 0; pair < product.pairs; pair += kPairs) {
      const auto load_left = [&](auto tile, Index r, Index part) {
        tiles::load<kLeft + tile>(
            product.left + (row + r * kRowsOfTile) * product.across + part * width + 2 * pair,
            product.across * static_cast<Index>(sizeof(Left)));
      };
      const auto load_right = [&](auto tile, Index column, Index part) {
        const Index register_of_row = Part::kFirst + First + column;
        const Index place = (pair / kPairs * Part::kWidth + register_of_row) * kParts + part;
        tiles::load<kRight + tile, true>(product.panel + place * kTile, kRegister);
      };
      if constexpr (TilesOfRows == 1) {
        // The two tiles for left operands hold two parts, which are multiplied with the same part
        // of the right operand.
        each<(kParts + 1) / 2>([&](auto half) {
          constexpr int kFirstPart = 2 * half;
          constexpr int kHere = std::min(2, kParts - kFirstPart);
          each<kHere>([&](auto i) { load_left(i, 0, kFirstPart + i); });
          each<Columns>([&](auto c) {
            each<kParts - kFirstPart>([&](auto j) {
              constexpr int kTileOfRight = (c + j) % 2;
              load_right(constant<kTileOfRight>{}, c, j);
              each<kHere>([&](auto i) {
                if constexpr (kFirstPart + i + j < kParts) {
                  tiles::dot<c, kLeft + i, kRight + kTileOfRight>();
                }
              });
            });
          });
        });
      } else {
        each<kParts>([&](auto i) {
          each<TilesOfRows>([&](auto r) { load_left(r, r, i); });
          each<kParts - i>([&](auto j) {
            each<Columns>([&](auto c) {
              load_right(constant<c % 2>{}, c, j);
              each<TilesOfRows>([&](auto r) {
                tiles::dot<r * kSumsOfRows<TilesOfRows> + c, kLeft + r, kRight + c % 2>();
              });
            });
          });
        });
      }
    }
    store_sums<Part, TilesOfRows, First, Columns>(sums, row);
  }
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_TILES

#endif  // LSTM_IMPL_NATIVE_PART_PRODUCTS_H_
