// Products by tiles (AMX) as their instructions make them, on the processor that Bochs emulates and
// with no system at all: this is what a disk starts with, which enters 64-bit mode by itself. Prints
// to the first serial port.
//
// With LSTM_IMPL_EMULATED_TILES it is a usual program, whose products are those of the emulation in
// tiles.h: it prints the same, but for the lines of permission.
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "bfloat16_products.h"
#include "part_products.h"

namespace {

using lstm_impl::BFloat16;
using lstm_impl::DotsByTiles;
using lstm_impl::Factors;
using lstm_impl::Index;
namespace tiles = lstm_impl::tiles;

#if defined(LSTM_IMPL_EMULATED_TILES)

void print(char letter) { std::putchar(letter); }
bool configured() { return tiles::state.configured; }

#else

void send(std::uint16_t port, std::uint8_t value) {
  asm volatile("outb %0, %1" : : "a"(value), "d"(port));
}

constexpr std::uint16_t kSerial = 0x3f8;

void print(char letter) {
  send(kSerial, static_cast<std::uint8_t>(letter));
  std::uint8_t status = 0;
  while ((status & 0x40) == 0) {  // until it is sent
    asm volatile("inb %1, %0" : "=a"(status) : "d"(static_cast<std::uint16_t>(kSerial + 5)));
  }
}

// Of the states that the processor would save.
bool configured() {
  std::uint32_t used, above;
  asm volatile("xgetbv" : "=a"(used), "=d"(above) : "c"(1));
  return (used >> 17 & 1) != 0;
}

#endif

void print(const char* text) {
  while (*text != 0) print(*text++);
}

void print(std::uint64_t number) {
  if (number > 15) print(number >> 4);
  print("0123456789abcdef"[number & 15]);
}

std::uint64_t random_state = 1;

std::uint32_t random_number() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return static_cast<std::uint32_t>(random_state >> 32);
}

// Of a quarter the products are denormal, or they are so themselves, or zero with a sign.
BFloat16 random_factor() {
  const std::uint32_t bits = random_number(), kind = bits >> 16 & 15;
  const std::uint32_t exponent = kind == 0 ? 0 : kind < 4 ? 62 + (bits >> 20) % 4 : 120 + (bits >> 20) % 12;
  const std::uint32_t number = (bits & 0x807f) | exponent << 7;
  return {static_cast<std::uint16_t>(kind == 1 ? number & 0x8000 : number)};
}

constexpr Index kMostRows = 70, kMostPairs = 144, kMostWidth = 4;

alignas(64) BFloat16 left[kMostRows * DotsByTiles::row_width(2 * kMostPairs)];
alignas(64) float panel[kMostPairs * kMostWidth * lstm_impl::kLanes];
alignas(64) float start[kMostRows * kMostWidth * lstm_impl::kLanes];
alignas(64) float sums[kMostRows * kMostWidth * lstm_impl::kLanes + 1];

void draw_numbers() {
  for (BFloat16& each : left) each = random_factor();
  for (float& each : panel) {
    const BFloat16 pair[2] = {random_factor(), random_factor()};
    std::memcpy(&each, pair, sizeof each);
  }
  for (float& each : start) {
    const BFloat16 factor = random_factor();
    const std::uint32_t bits = static_cast<std::uint32_t>(factor.bits) << 16 | (random_number() & 0xffff);
    std::memcpy(&each, &bits, sizeof each);
  }
  std::memset(sums, 0x55, sizeof sums);  // what is past the last row stays so
}

void print_sums(Index rows, Index width, Index pairs) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (std::size_t k = 0; k < sizeof sums; ++k) {
    hash = (hash ^ reinterpret_cast<const unsigned char*>(sums)[k]) * 0x100000001b3;
  }
  print("rows ");
  print(static_cast<std::uint64_t>(rows));
  print(" width ");
  print(static_cast<std::uint64_t>(width));
  print(" pairs ");
  print(static_cast<std::uint64_t>(pairs));
  print(configured() ? ": " : " with no tiles: ");
  print(hash);
  print("\n");
}

// All numbers, and where they come from: nothing, one row for all, or a row for each.
template <int Width>
void multiply(Index rows, Index pairs, int from) {
  constexpr Index kRow = Width * lstm_impl::kLanes;
  const Index across = DotsByTiles::row_width(2 * pairs);
  draw_numbers();
  // As a step has it: of its input and of its state.
  const Index first = pairs > 16 ? 16 : pairs;
  DotsByTiles::multiply<lstm_impl::PanelPart<Width>>(
      sums, {from == 0 ? nullptr : start, from == 1 ? 0 : kRow}, rows,
      {Factors<BFloat16>{left, across, panel, first},
       Factors<BFloat16>{left + 2 * first, across, panel + first * kRow, pairs - first}});
  print_sums(rows, Width, pairs);
}

// The same of floats that are split into parts.
template <int kParts>
void multiply_parts(Index rows, Index pairs) {
  using Products = lstm_impl::PartsByTiles<kParts>;
  using Part = lstm_impl::PanelPart<kMostWidth>;
  draw_numbers();
  Products::template multiply<Part>(
      sums, {start, Part::kAcross}, rows,
      {{left, kParts * Products::row_width(2 * pairs), panel, pairs}});
  print_sums(rows, kMostWidth, pairs);
}

void run() {
  for (const Index rows : {1, 5, 15, 16, 17, 31, 32, 33, 70}) {
    for (const Index pairs : {16, 32, 144}) {
      multiply<1>(rows, pairs, 0);
      multiply<2>(rows, pairs, 1);
      multiply<3>(rows, pairs, 2);
      multiply<4>(rows, pairs, static_cast<int>(rows % 3));
    }
  }
  // As many as there is room for.
  for (const Index rows : {1, 16, 17, 33}) {
    for (const Index pairs : {16, 48}) {
      multiply_parts<2>(rows, pairs);
      multiply_parts<3>(rows, pairs);
    }
  }
  DotsByTiles::release();
  print(configured() ? "they are not released\n" : "they are released\n");
}

}  // namespace

#if defined(LSTM_IMPL_EMULATED_TILES)

int main() { run(); }

#else

// What is asked of Linux, its answer, and the error that comes with a refusal.
static long asked[2], answer;
static int questions, error;

extern "C" {

long syscall(long number, ...) noexcept {
  __builtin_va_list arguments;
  __builtin_va_start(arguments, number);
  ++questions;
  for (long& each : asked) each = __builtin_va_arg(arguments, long);
  __builtin_va_end(arguments);
  return number == SYS_arch_prctl ? answer : -1;
}

int* __errno_location() noexcept { return &error; }

void* memcpy(void* to, const void* from, std::size_t count) {
  void* const begin = to;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  return begin;
}

void* memset(void* to, int value, std::size_t count) {
  void* const begin = to;
  asm volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
  return begin;
}

void save_states(std::uint32_t states) { asm volatile("xsetbv" : : "a"(states), "d"(0), "c"(0)); }

void start_of_all(std::uint32_t states) {
  const auto granted = [](const char* where) {
    questions = 0;
    const char* const refusal = tiles::refusal();
    print(where);
    print(": ");
    print(refusal == nullptr ? "granted" : refusal);
    if (questions > 0) {
      print(" after arch_prctl(");
      print(static_cast<std::uint64_t>(asked[0]));
      print(", ");
      print(static_cast<std::uint64_t>(asked[1]));
      print(")");
    }
    print("\n");
    return refusal == nullptr;
  };
  send(kSerial + 3, 3);  // eight bits
  answer = -1;
  error = EPERM;
  granted("Linux says no");
  error = ENOSPC;
  granted("Linux has no room");
  answer = 0;
  save_states(states & 0xff);
  granted("states that are not saved");
  save_states(states);
  if (granted("Linux says yes")) run();
  print("the end\n");
  for (const char letter : "Shutdown") send(0x8900, static_cast<std::uint8_t>(letter));
  for (;;) asm volatile("hlt");
}

}  // extern "C"

// Calls start_of_all() with the states that the CPU can save. Loads itself, maps 2 MB, enters 64-bit mode and has the registers of AVX-512 and tiles, of which
// the CPU has, saved.
asm(R"(
.section .boot, "awx"
.code16
  cli
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %ss
  movw $0x7000, %sp
1:
  movw $packet, %si
  movb $0x42, %ah
  int $0x13
  jc 2f
  addw $0x400, segment
  addw $32, sector
  decw times
  jnz 1b
  cli
  movl $0x2003, 0x1000
  movl $0x3003, 0x2000
  movl $0x83, 0x3000
  movl $0x1000, %eax
  movl %eax, %cr3
  movl $0x40620, %eax
  movl %eax, %cr4
  movl $0xc0000080, %ecx
  rdmsr
  orl $0x100, %eax
  wrmsr
  lgdt table
  movl $0x80000013, %eax
  movl %eax, %cr0
  ljmp $8, $wide
2:
  hlt
  jmp 2b
packet:
  .word 16, 32, 0
segment:
  .word 0x7e0
sector:
  .quad 1
times:
  .word 16
descriptors:
  .quad 0, 0x00209a0000000000
table:
  .word 15
  .long descriptors
.code64
wide:
  xorl %eax, %eax
  movl %eax, %ds
  movl %eax, %ss
  movl $0x9f000, %esp
  movl $13, %eax
  xorl %ecx, %ecx
  cpuid
  andl $0x600e7, %eax
  movl %eax, %edi
  xorl %edx, %edx
  xorl %ecx, %ecx
  xsetbv
  call start_of_all
.org 510
  .word 0xaa55
.text
)");

#endif
