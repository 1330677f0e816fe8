// The kernels of fused_cpu by themselves, with threads of their own, against sums in double: what
// the sanitizers can follow, which a whole TensorFlow they cannot. Prints what is wrong, and exits
// with 1 if something is.
//
//   fused_cpu_kernels [seed]
//
// Or, for a few calls, whether each allocation may fail: then std::bad_alloc reaches the caller, or
// the results are right all the same.
//
//   fused_cpu_kernels memory
//
// Or the same sizes with one and three threads, for emulators.
//
//   fused_cpu_kernels few
//
// Or some sizes for each cell and each kind of product, for emulators that need minutes for the rest.
//
//   fused_cpu_kernels some
//
// Or only layers of float.
//
//   fused_cpu_kernels floats
//
// Or only how bfloat16 is multiplied.
//
//   fused_cpu_kernels products
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "bfloat16.h"
#include "int8.h"
#include "kernels.h"
#include "tiles.h"

// Allocations until one fails, on whichever thread; none does where it is negative.
static std::atomic<long> until_failure{-1};

static void* allocated(std::size_t size, std::size_t alignment) {
  if (until_failure.load() >= 0 && until_failure.fetch_sub(1) == 0) throw std::bad_alloc();
  const std::size_t whole = (std::max<std::size_t>(size, 1) + alignment - 1) / alignment;
  void* const found = std::aligned_alloc(alignment, whole * alignment);
  if (found == nullptr) throw std::bad_alloc();
  return found;
}

__attribute__((noinline)) void* operator new(std::size_t size) { return allocated(size, sizeof(long double)); }
__attribute__((noinline)) void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocated(size, static_cast<std::size_t>(alignment));
}
// std::stable_sort asks for its buffer in this way. The address sanitizer has an operator of its own,
// whose memory must not reach the operator delete below.
__attribute__((noinline)) void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
__attribute__((noinline)) void operator delete(void* place) noexcept { std::free(place); }
__attribute__((noinline)) void operator delete(void* place, std::size_t) noexcept { std::free(place); }
__attribute__((noinline)) void operator delete(void* place, std::align_val_t) noexcept { std::free(place); }
__attribute__((noinline)) void operator delete(void* place, std::size_t, std::align_val_t) noexcept { std::free(place); }

namespace {

using lstm_impl::BFloat16;
using lstm_impl::CellKind;
using lstm_impl::Layer;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

float from_stored(float value) { return value; }
float from_stored(BFloat16 value) {
  const std::uint32_t bits = static_cast<std::uint32_t>(value.bits) << 16;
  float found;
  std::memcpy(&found, &bits, sizeof found);
  return found;
}

// As numbers are stored: to the nearest, ties to even.
template <class Value>
Value to_stored(float value) {
  if constexpr (std::is_same_v<Value, float>) {
    return value;
  } else {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (value != value) return {0x7fc0};
    const std::uint32_t below = bits & 0xffffu, odd = bits >> 16 & 1u;
    const std::uint32_t up = below > 0x8000u || (below == 0x8000u && odd != 0) ? 1u : 0u;
    return {static_cast<std::uint16_t>((bits >> 16) + up)};
  }
}

template <class Value>
std::vector<Value> stored(const Floats& floats) {
  std::vector<Value> found;
  for (const float value : floats) found.push_back(to_stored<Value>(value));
  return found;
}

template <class Value>
Floats floats_of(const std::vector<Value>& values) {
  Floats found;
  for (const Value value : values) found.push_back(from_stored(value));
  return found;
}

// Threads that run what is scheduled, some of it late; without any, it is run when all is over and
// what was computed is gone.
class Threads {
 public:
  explicit Threads(int count) {
    for (int k = 0; k < count; ++k) threads_.emplace_back([this] { serve(); });
  }
  ~Threads() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    for (const std::function<void()>& work : queue_) work();
  }
  void schedule(std::function<void()> work) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      queue_.push_back(std::move(work));
    }
    changed_.notify_one();
  }

 private:
  void serve() {
    for (;;) {
      std::function<void()> work;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return closed_ || !queue_.empty(); });
        if (queue_.empty()) return;
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
  bool closed_ = false;
};

struct Case {
  std::int64_t timesteps, batch, inputs, units;
  bool batch_major, reverse;
  // 0: none; 1: lengths; 2: any mask, of every second case with resets, which a layer with only_steps
  // does not take; 3: any mask and resets; 4: resets
  int padding;
  bool narrow = false;  // products of bfloat16 are allowed in float
  CellKind cell = CellKind::kLSTM;
  bool three = false;  // products of parts are allowed in float
  bool only_steps = false;  // x, y and their gradients have only the steps that a mask leaves
  bool keeps_places = false;  // what is kept has its places, which may be cut into parts of a batch

  std::int64_t gates() const { return cell == CellKind::kLSTM ? 4 : 3; }
};

// The bits of a step in a mask, as lstm_impl/native/c_api.h describes them.
constexpr unsigned char kThere = 1, kFromZeros = 2, kFromInitial = 4;

// Every kind of padding that ``Case`` describes.
constexpr int kPaddings[] = {0, 1, 2, 3, 4};

bool starts_over(unsigned char step) { return (step & (kFromZeros | kFromInitial)) != 0; }

constexpr CellKind kCells[] = {CellKind::kLSTM, CellKind::kGRU, CellKind::kGRUResetBefore};

template <class Value, class Weight = Value>
struct InputsOf {
  std::vector<Value> x, h0, c0;
  std::vector<Weight> kernel, recurrent, bias;
  std::vector<Value> dy, dh, dc;
  std::vector<unsigned char> mask;
  std::vector<Weight> second;  // bias, of a GRU that resets after the product
};
using Inputs = InputsOf<float>;

// The numbers as they are stored, or as they are read again.
template <class Value, class Weight>
InputsOf<Value, Weight> stored(const Inputs& in) {
  const auto each = [](const Floats& floats) { return stored<Value>(floats); };
  const auto weight = [](const Floats& floats) { return stored<Weight>(floats); };
  return {each(in.x),      each(in.h0), each(in.c0), weight(in.kernel), weight(in.recurrent),
          weight(in.bias), each(in.dy), each(in.dh), each(in.dc),       in.mask,
          weight(in.second)};
}

template <class Value, class Weight>
Inputs floats_of(const InputsOf<Value, Weight>& in) {
  return {floats_of(in.x),         floats_of(in.h0),
          floats_of(in.c0),        floats_of(in.kernel),
          floats_of(in.recurrent), floats_of(in.bias),
          floats_of(in.dy),        floats_of(in.dh),
          floats_of(in.dc),        in.mask,
          floats_of(in.second)};
}

template <class Value, class Weight = Value>
struct ResultsOf {
  std::vector<Value> y, h, c, dx, dh0, dc0;
  std::vector<Weight> dkernel, drecurrent, dbias, dsecond;
};

struct Results : ResultsOf<float> {
  std::vector<std::pair<const char*, const Floats*>> all() const {
    return {{"y", &y},     {"h", &h},        {"c", &c},           {"dx", &dx},   {"dh0", &dh0},
            {"dc0", &dc0}, {"dW", &dkernel}, {"dR", &drecurrent}, {"db", &dbias},
            {"dd", &dsecond}};
  }
};

std::size_t size(std::int64_t a, std::int64_t b = 1, std::int64_t c = 1) {
  return static_cast<std::size_t>(a * b * c);
}

Inputs make(const Case& one, std::mt19937& random) {
  std::uniform_real_distribution<float> values(-1, 1);
  const auto fill = [&](std::size_t count, float scale) {
    Floats found(count);
    for (float& value : found) value = scale * values(random);
    return found;
  };
  const std::int64_t T = one.timesteps, B = one.batch, I = one.inputs, H = one.units;
  const std::int64_t width = one.gates() * H;
  const float scale = 1.0f / std::sqrt(static_cast<float>(H));
  Inputs in{fill(size(T, B, I), 2),      fill(size(B, H), 1),
            fill(size(B, H), 1),         fill(size(I, width), scale),
            fill(size(H, width), scale), fill(size(width), scale),
            fill(size(T, B, H), 1),      fill(size(B, H), 1),
            fill(size(B, H), 1),         {},
            {}};
  if (one.cell == CellKind::kGRU) in.second = fill(size(width), scale);
  const bool chosen = one.padding == 2 && random() % 2 == 0;
  const bool resets = one.padding >= 3 || (chosen && !one.only_steps);
  if (one.padding != 0) {
    in.mask.resize(size(T, B));
    for (std::int64_t b = 0; b < B; ++b) {
      const std::int64_t length = 1 + (b * 7 + 3) % std::max<std::int64_t>(T, 1);
      for (std::int64_t t = 0; t < T; ++t) {
        const bool valid =
            one.padding == 1 ? t < length : one.padding == 4 || (random() % 3 != 0);
        unsigned char& step = in.mask[size(t * B + b)];
        step = valid ? kThere : 0;
        if (resets && random() % 4 == 0) {
          step = static_cast<unsigned char>(step | (random() % 2 == 0 ? kFromZeros : kFromInitial));
        }
        if (!valid) {  // padding may hold anything
          const std::size_t at = size((one.batch_major ? b * T + t : t * B + b) * I);
          in.x[at] = std::numeric_limits<float>::quiet_NaN();
          in.dy[size((one.batch_major ? b * T + t : t * B + b) * H)] =
              std::numeric_limits<float>::infinity();
        }
      }
    }
  }
  return in;
}

template <class Value, class Weight>
Results floats_of(const ResultsOf<Value, Weight>& out) {
  return {{floats_of(out.y), floats_of(out.h), floats_of(out.c), floats_of(out.dx),
           floats_of(out.dh0), floats_of(out.dc0), floats_of(out.dkernel),
           floats_of(out.drecurrent), floats_of(out.dbias), floats_of(out.dsecond)}};
}

// The rows [time, batch] of a call, and those of them that a kernel has of a layer with only_steps.
class StepRows {
 public:
  StepRows(const Case& one, const std::vector<unsigned char>& mask) {
    const std::int64_t T = one.timesteps, B = one.batch;
    for (std::int64_t t = 0; t < T; ++t) {
      for (std::int64_t b = 0; b < B; ++b) {
        if (one.only_steps && mask[size(t * B + b)] == 0) continue;
        rows_.push_back(one.batch_major ? b * T + t : t * B + b);
      }
    }
    only_ = one.only_steps;
  }

  template <class Value>
  std::vector<Value> only(const std::vector<Value>& all, std::int64_t features) const {
    if (!only_) return all;
    std::vector<Value> found;
    for (const std::int64_t row : rows_) {
      const auto first = all.begin() + row * features;
      found.insert(found.end(), first, first + features);
    }
    return found;
  }

  // Zeros where there is no row.
  template <class Value>
  std::vector<Value> all(const std::vector<Value>& only, std::int64_t features,
                         std::int64_t count) const {
    if (!only_) return only;
    std::vector<Value> found(size(count, features), to_stored<Value>(0));
    for (std::size_t k = 0; k < rows_.size(); ++k) {
      const auto first = only.begin() + static_cast<std::int64_t>(k) * features;
      std::copy(first, first + features, found.begin() + rows_[k] * features);
    }
    return found;
  }

  std::int64_t count() const { return static_cast<std::int64_t>(rows_.size()); }

 private:
  std::vector<std::int64_t> rows_;
  bool only_;
};

// Which allocation of the kernels' is to fail, of a call as a whole, and whether it was reached.
long fail_at = -1;
std::atomic<bool> reached{false};

// Runs a kernel, counting its allocations.
template <class Kernel>
void counted(const Kernel& kernel) {
  until_failure = fail_at;
  try {
    kernel();
  } catch (...) {
    until_failure = -1;
    throw;
  }
  const long left = until_failure.exchange(-1);
  reached = reached || (fail_at >= 0 && left < 0);
  fail_at = left;  // of the next kernel
}

// In place of a number of threads: three are promised, and none comes in time.
constexpr int kNobodyComes = 0;

template <class Value, class Weight>
Results compute(const Case& one, const InputsOf<Value, Weight>& in, int threads, bool keep) {
  const std::int64_t T = one.timesteps, B = one.batch, I = one.inputs, H = one.units;
  const Layer layer{T,          B,        I,         H,             one.batch_major, one.reverse,
                    one.narrow, one.cell, one.three, one.only_steps,  one.keeps_places};
  const StepRows rows(one, in.mask);
  const std::vector<Value> x = rows.only(in.x, I), dy = rows.only(in.dy, H);
  const bool has_cells = one.cell == CellKind::kLSTM;
  const std::int64_t width = one.gates() * H;
  Threads pool_threads(threads == kNobodyComes ? 0 : threads - 1);
  const lstm_impl::Pool pool{
      [&](std::function<void()> work) { pool_threads.schedule(std::move(work)); },
      threads == kNobodyComes ? 3 : threads};
  // what is not written is seen
  const auto bad = to_stored<Value>(std::numeric_limits<float>::quiet_NaN());
  const auto made = [bad](std::size_t count) { return std::vector<Value>(count, bad); };
  const auto made_for_weights = [](std::size_t count) {
    return std::vector<Weight>(count, to_stored<Weight>(std::numeric_limits<float>::quiet_NaN()));
  };
  ResultsOf<Value, Weight> out{
      made(size(rows.count(), H)), made(size(B, H)), made(has_cells ? size(B, H) : 0), {}, {}, {}, {}, {}, {}, {}};
  std::vector<Value> gates, cells, hidden;
  const unsigned char* mask = in.mask.empty() ? nullptr : in.mask.data();
  if (keep) {
    gates = made(size(layer.gates_size()));
    cells = made(size(layer.cells_size()));
    if (mask != nullptr && !one.only_steps) hidden = made(size(T, B, H));
  }
  counted([&] {
    lstm_impl::forward(
        lstm_impl::Forward<Value, Weight>{layer,
                                          {in.kernel.data(), in.recurrent.data(), in.bias.data(),
                                           false, in.second.data()},
                                          x.data(),
                                          in.h0.data(),
                                          has_cells ? in.c0.data() : nullptr,
                                          mask,
                                          out.y.data(),
                                          out.h.data(),
                                          has_cells ? out.c.data() : nullptr,
                                          keep ? gates.data() : nullptr,
                                          keep && has_cells ? cells.data() : nullptr,
                                          hidden.empty() ? nullptr : hidden.data()},
        pool);
  });
  if (!keep) {
    out.y = rows.all(out.y, H, T * B);
    return floats_of(out);
  }
  out.dx = made(x.size());
  out.dh0 = made(size(B, H));
  out.dc0 = made(has_cells ? size(B, H) : 0);
  out.dkernel = made_for_weights(size(I, width));
  out.drecurrent = made_for_weights(size(H, width));
  out.dbias = made_for_weights(size(width));
  out.dsecond = made_for_weights(in.second.size());
  Floats own(std::is_same_v<Value, float> ? 0 : gates.size(),
             std::numeric_limits<float>::quiet_NaN());
  float* dz = own.data();
  if constexpr (std::is_same_v<Value, float>) dz = gates.data();
  counted([&] {
    lstm_impl::backward(
        lstm_impl::Backward<Value, Weight>{
            layer, in.recurrent.data(), x.data(), in.h0.data(),
            has_cells ? in.c0.data() : nullptr, mask,
            hidden.empty() ? out.y.data() : hidden.data(), gates.data(),
            has_cells ? cells.data() : nullptr, dy.data(), in.dh.data(),
            has_cells ? in.dc.data() : nullptr, dz, out.dh0.data(),
            has_cells ? out.dc0.data() : nullptr, out.dkernel.data(), out.drecurrent.data(),
            out.dbias.data(), out.dsecond.empty() ? nullptr : out.dsecond.data()},
        pool);
  });
  // Where all steps have their places, the input's gradient can do without the mask.
  const unsigned char* const known = one.keeps_places && threads == 1 ? nullptr : mask;
  counted([&] {
    lstm_impl::input_gradient(
        lstm_impl::InputGradient<Value, Weight>{layer, in.kernel.data(), dz, known, out.dx.data()},
        pool);
  });
  out.y = rows.all(out.y, H, T * B);
  out.dx = rows.all(out.dx, I, T * B);
  return floats_of(out);
}

// The same in double, as plainly as it can be written.
std::vector<Doubles> reference(const Case& one, const Inputs& in) {
  const std::int64_t T = one.timesteps, B = one.batch, I = one.inputs, H = one.units;
  const auto place = [&](std::int64_t t, std::int64_t b) {
    return one.batch_major ? b * T + t : t * B + b;
  };
  Doubles y(size(T, B, H)), h(in.h0.begin(), in.h0.end()), c(in.c0.begin(), in.c0.end());
  std::vector<Doubles> before_h, before_c, after_c, gates;
  const auto step_at = [&](std::int64_t t, std::int64_t b) {
    return in.mask.empty() ? kThere : in.mask[size(t * B + b)];
  };
  std::vector<std::int64_t> order;
  for (std::int64_t s = 0; s < T; ++s) order.push_back(one.reverse ? T - 1 - s : s);
  for (const std::int64_t t : order) {
    for (std::int64_t b = 0; b < B; ++b) {
      if (!starts_over(step_at(t, b))) continue;
      const bool from_initial = (step_at(t, b) & kFromInitial) != 0;
      for (std::int64_t at = b * H; at < (b + 1) * H; ++at) {
        h[size(at)] = from_initial ? in.h0[size(at)] : 0;
        c[size(at)] = from_initial ? in.c0[size(at)] : 0;
      }
    }
    before_h.push_back(h);
    before_c.push_back(c);
    Doubles now(size(B, 4 * H));
    for (std::int64_t b = 0; b < B; ++b) {
      if ((step_at(t, b) & kThere) == 0) continue;
      const double* h_row = before_h.back().data() + b * H;
      for (std::int64_t j = 0; j < H; ++j) {
        double z[4];
        for (std::int64_t g = 0; g < 4; ++g) {
          const std::int64_t column = g * H + j;
          double sum = in.bias[size(column)];
          for (std::int64_t k = 0; k < I; ++k) {
            sum += static_cast<double>(in.x[size(place(t, b) * I + k)]) *
                   in.kernel[size(k * 4 * H + column)];
          }
          for (std::int64_t k = 0; k < H; ++k) {
            sum += h_row[k] * in.recurrent[size(k * 4 * H + column)];
          }
          z[g] = g == 2 ? std::tanh(sum) : 1 / (1 + std::exp(-sum));
          now[size(b * 4 * H + column)] = z[g];
        }
        const double cell = z[1] * c[size(b * H + j)] + z[0] * z[2];
        c[size(b * H + j)] = cell;
        h[size(b * H + j)] = z[3] * std::tanh(cell);
        y[size(place(t, b) * H + j)] = h[size(b * H + j)];
      }
    }
    gates.push_back(now);
    after_c.push_back(c);
  }
  Doubles dx(in.x.size()), dW(size(I, 4 * H)), dR(size(H, 4 * H)), db(size(4 * H));
  Doubles dh(in.dh.begin(), in.dh.end()), dc(in.dc.begin(), in.dc.end());
  Doubles dh0(dh.size()), dc0(dc.size());  // what flowed into them where sequences start over
  for (std::int64_t s = T - 1; s >= 0; --s) {
    const std::int64_t t = order[size(s)];
    for (std::int64_t b = 0; b < B; ++b) {
      const unsigned char step = step_at(t, b);
      // Nothing flows past a step that starts over.
      const auto cut = [&] {
        if (!starts_over(step)) return;
        for (std::int64_t at = b * H; at < (b + 1) * H; ++at) {
          if ((step & kFromInitial) != 0) dh0[size(at)] += dh[size(at)], dc0[size(at)] += dc[size(at)];
          dh[size(at)] = dc[size(at)] = 0;
        }
      };
      if ((step & kThere) == 0) {
        cut();
        continue;
      }
      Doubles dz(size(4 * H)), dh_before(size(H));
      for (std::int64_t j = 0; j < H; ++j) {
        const auto gate = [&](std::int64_t g) {
          return gates[size(s)][size(b * 4 * H + g * H + j)];
        };
        const double i = gate(0), f = gate(1), g = gate(2), o = gate(3);
        const double tanh_c = std::tanh(after_c[size(s)][size(b * H + j)]);
        const double to_h = dh[size(b * H + j)] + in.dy[size(place(t, b) * H + j)];
        const double to_c = dc[size(b * H + j)] + to_h * o * (1 - tanh_c * tanh_c);
        dz[size(j)] = to_c * g * i * (1 - i);
        dz[size(H + j)] = to_c * before_c[size(s)][size(b * H + j)] * f * (1 - f);
        dz[size(2 * H + j)] = to_c * i * (1 - g * g);
        dz[size(3 * H + j)] = to_h * tanh_c * o * (1 - o);
        dc[size(b * H + j)] = to_c * f;
      }
      for (std::int64_t column = 0; column < 4 * H; ++column) {
        const double value = dz[size(column)];
        db[size(column)] += value;
        for (std::int64_t k = 0; k < I; ++k) {
          const std::size_t at = size(place(t, b) * I + k);
          dW[size(k * 4 * H + column)] += in.x[at] * value;
          dx[at] += in.kernel[size(k * 4 * H + column)] * value;
        }
        for (std::int64_t k = 0; k < H; ++k) {
          dR[size(k * 4 * H + column)] += before_h[size(s)][size(b * H + k)] * value;
          dh_before[size(k)] += in.recurrent[size(k * 4 * H + column)] * value;
        }
      }
      for (std::int64_t k = 0; k < H; ++k) dh[size(b * H + k)] = dh_before[size(k)];
      cut();
    }
  }
  for (std::size_t at = 0; at < dh.size(); ++at) dh[at] += dh0[at], dc[at] += dc0[at];
  return {y, h, c, dx, dh, dc, dW, dR, db, {}};
}

// The same of a GRU, in both forms: gates r, z, n.
std::vector<Doubles> gru_reference(const Case& one, const Inputs& in) {
  const std::int64_t T = one.timesteps, B = one.batch, I = one.inputs, H = one.units;
  const bool after = one.cell == CellKind::kGRU;
  const auto place = [&](std::int64_t t, std::int64_t b) {
    return one.batch_major ? b * T + t : t * B + b;
  };
  const auto second = [&](std::int64_t column) { return after ? in.second[size(column)] : 0.0f; };
  // What a step of a sequence computes: h before, r, z, n, and what r acts on, h R or h.
  struct Step {
    Doubles before, r, z, n, acted;
  };
  const auto step_at = [&](std::int64_t t, std::int64_t b) {
    return in.mask.empty() ? kThere : in.mask[size(t * B + b)];
  };
  Doubles y(size(T, B, H)), h(in.h0.begin(), in.h0.end());
  std::vector<Step> steps(size(T, B));
  for (std::int64_t s = 0; s < T; ++s) {
    const std::int64_t t = one.reverse ? T - 1 - s : s;
    for (std::int64_t b = 0; b < B; ++b) {
      if (starts_over(step_at(t, b))) {
        const bool from_initial = (step_at(t, b) & kFromInitial) != 0;
        for (std::int64_t at = b * H; at < (b + 1) * H; ++at) {
          h[size(at)] = from_initial ? in.h0[size(at)] : 0;
        }
      }
      if ((step_at(t, b) & kThere) == 0) continue;
      Step step;
      step.before.assign(h.begin() + b * H, h.begin() + (b + 1) * H);
      const auto times = [&](const Doubles& left, std::int64_t column) {
        double sum = second(column);
        for (std::int64_t k = 0; k < H; ++k) {
          sum += left[size(k)] * in.recurrent[size(k * 3 * H + column)];
        }
        return sum;
      };
      const auto input = [&](std::int64_t column) {
        double sum = in.bias[size(column)];
        for (std::int64_t k = 0; k < I; ++k) {
          sum += static_cast<double>(in.x[size(place(t, b) * I + k)]) *
                 in.kernel[size(k * 3 * H + column)];
        }
        return sum;
      };
      for (std::int64_t j = 0; j < H; ++j) {
        step.r.push_back(1 / (1 + std::exp(-input(j) - times(step.before, j))));
        step.z.push_back(1 / (1 + std::exp(-input(H + j) - times(step.before, H + j))));
      }
      Doubles reset;
      for (std::int64_t j = 0; j < H; ++j) reset.push_back(step.r[size(j)] * step.before[size(j)]);
      for (std::int64_t j = 0; j < H; ++j) {
        const double of_h = times(after ? step.before : reset, 2 * H + j);
        step.acted.push_back(after ? of_h : step.before[size(j)]);
        step.n.push_back(std::tanh(input(2 * H + j) + (after ? step.r[size(j)] * of_h : of_h)));
        const double z = step.z[size(j)];
        h[size(b * H + j)] = z * step.before[size(j)] + (1 - z) * step.n[size(j)];
        y[size(place(t, b) * H + j)] = h[size(b * H + j)];
      }
      steps[size(t * B + b)] = step;
    }
  }
  Doubles dx(in.x.size()), dW(size(I, 3 * H)), dR(size(H, 3 * H)), db(size(3 * H)), dd(size(3 * H));
  Doubles dh(in.dh.begin(), in.dh.end()), dh0(dh.size());
  for (std::int64_t s = T - 1; s >= 0; --s) {
    const std::int64_t t = one.reverse ? T - 1 - s : s;
    for (std::int64_t b = 0; b < B; ++b) {
      // Nothing flows past a step that starts over.
      const auto cut = [&] {
        if (!starts_over(step_at(t, b))) return;
        for (std::int64_t at = b * H; at < (b + 1) * H; ++at) {
          if ((step_at(t, b) & kFromInitial) != 0) dh0[size(at)] += dh[size(at)];
          dh[size(at)] = 0;
        }
      };
      if ((step_at(t, b) & kThere) == 0) {
        cut();
        continue;
      }
      const Step& step = steps[size(t * B + b)];
      // Of the sums of the input, and of what the recurrent kernel multiplied to them.
      Doubles of_input(size(3 * H)), of_state(size(3 * H)), flow(size(H)), into_reset(size(H));
      for (std::int64_t j = 0; j < H; ++j) {
        const double r = step.r[size(j)], z = step.z[size(j)], n = step.n[size(j)];
        const double out = dh[size(b * H + j)] + in.dy[size(place(t, b) * H + j)];
        flow[size(j)] = out * z;
        of_input[size(H + j)] = of_state[size(H + j)] = out * (step.before[size(j)] - n) * z * (1 - z);
        of_input[size(2 * H + j)] = out * (1 - z) * (1 - n * n);
        of_state[size(2 * H + j)] = of_input[size(2 * H + j)] * (after ? r : 1);
      }
      for (std::int64_t j = 0; j < H; ++j) {
        for (std::int64_t k = 0; k < H; ++k) {
          into_reset[size(j)] +=
              of_state[size(2 * H + k)] * in.recurrent[size(j * 3 * H + 2 * H + k)];
        }
        const double r = step.r[size(j)], acted = step.acted[size(j)];
        const double into_r =
            after ? of_input[size(2 * H + j)] * acted : into_reset[size(j)] * acted;
        of_input[size(j)] = of_state[size(j)] = into_r * r * (1 - r);
        flow[size(j)] += after ? into_reset[size(j)] : into_reset[size(j)] * r;
      }
      for (std::int64_t column = 0; column < 3 * H; ++column) {
        const double value = of_input[size(column)], recurrent = of_state[size(column)];
        db[size(column)] += value;
        dd[size(column)] += recurrent;
        for (std::int64_t k = 0; k < I; ++k) {
          const std::size_t at = size(place(t, b) * I + k);
          dW[size(k * 3 * H + column)] += in.x[at] * value;
          dx[at] += in.kernel[size(k * 3 * H + column)] * value;
        }
        const bool reset = !after && column >= 2 * H;
        for (std::int64_t k = 0; k < H; ++k) {
          const double left = step.before[size(k)] * (reset ? step.r[size(k)] : 1);
          dR[size(k * 3 * H + column)] += left * recurrent;
          if (column < 2 * H) {
            flow[size(k)] += in.recurrent[size(k * 3 * H + column)] * recurrent;
          }
        }
      }
      std::copy(flow.begin(), flow.end(), dh.begin() + b * H);
      cut();
    }
  }
  for (std::size_t at = 0; at < dh.size(); ++at) dh[at] += dh0[at];
  return {y, h, {}, dx, dh, {}, dW, dR, db, after ? dd : Doubles{}};
}

std::vector<Doubles> expected_results(const Case& one, const Inputs& in) {
  return one.cell == CellKind::kLSTM ? reference(one, in) : gru_reference(one, in);
}

const char* cell_name(CellKind cell) {
  switch (cell) {
    case CellKind::kGRU:
      return ", GRU";
    case CellKind::kGRUResetBefore:
      return ", GRU that resets before";
    default:
      return "";
  }
}

// Sizes that are refused, and the largest that are not.
int check_sizes() {
  const std::int64_t most = std::numeric_limits<std::int32_t>::max();
  const std::vector<std::pair<Layer, bool>> sizes{
      {{most, 1, 1, 1, false, false}, true},       {{most + 1, 0, 1, 1, false, false}, false},
      {{1, most + 1, 1, 1, false, false}, false},  {{1, 1, most + 1, 1, false, false}, false},
      {{1, 1, 1, most + 1, false, false}, false},  {{1, 1, 0, 1, false, false}, false},
      {{1, 1, 1, 0, false, false}, false},         {{0, 0, 1, 1, false, false}, true},
      {{most, 4096, 1, 1024, false, false}, true}, {{most, most, 1, 1024, false, false}, false},
      {{1, 1, most, most, false, false}, false}};
  int wrong = 0;
  for (const auto& [layer, good] : sizes) {
    if (layer.problem().empty() == good) continue;
    std::printf("T%ld B%ld I%ld H%ld: %s\n", static_cast<long>(layer.timesteps),
                static_cast<long>(layer.batch), static_cast<long>(layer.inputs),
                static_cast<long>(layer.units), good ? "refused" : "not refused");
    ++wrong;
  }
  // Past 2^31 numbers, sizes are counted in 64 bits.
  const Layer large{100000, 64, 512, 512, false, false};
  if (large.gates_size() != 100000LL * 64 * 512 * 4) {
    std::printf("a large layer keeps %lld numbers\n", static_cast<long long>(large.gates_size()));
    ++wrong;
  }
  return wrong;
}

bool same_bits(const Results& a, const Results& b) {
  const auto as = a.all(), bs = b.all();
  for (std::size_t k = 0; k < as.size(); ++k) {
    const Floats &one = *as[k].second, &other = *bs[k].second;
    if (one.size() != other.size()) return false;
    if (one.empty()) continue;
    if (std::memcmp(one.data(), other.data(), one.size() * sizeof(float)) != 0) return false;
  }
  return true;
}

// Whether a number has more digits than a bfloat16.
bool is_precise(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits & 0xffff) != 0;
}

template <class Value, class Weight>
int check_stored(const Case& one, const Inputs& exact, const std::vector<int>& thread_counts) {
  const InputsOf<Value, Weight> in = stored<Value, Weight>(exact);
  const std::vector<Doubles> expected = expected_results(one, floats_of(in));
  constexpr bool kFloat = std::is_same_v<Value, float>;
  constexpr bool kMixed = !std::is_same_v<Value, Weight>;
  // Of the largest number of an array; a bfloat16 is off by up to 2e-3 of itself.
  // Each product of three of parts is off by up to 2^-15 of itself.
  const double kMost = kFloat && one.three ? 1e-4 : kFloat && !one.narrow ? 6e-6 : 3e-2;
  int wrong = 0;
  const auto complain = [&](const std::string& what) {
    std::printf("T%ld B%ld I%ld H%ld%s%s%s padding %d%s: %s\n", static_cast<long>(one.timesteps),
                static_cast<long>(one.batch), static_cast<long>(one.inputs),
                static_cast<long>(one.units),
                kFloat   ? one.narrow ? " bf32" : one.three ? " bf16x3" : ""
                : kMixed ? " mixed"
                         : " bfloat16",
                one.batch_major ? " batch-major" : "", one.reverse ? " reverse" : "", one.padding,
                cell_name(one.cell), ((one.only_steps ? "only steps, " : one.keeps_places ? "in places, " : "") + what).c_str());
    ++wrong;
  };
  for (const int threads : thread_counts) {
    const Results found = compute(one, in, threads, true);
    const auto arrays = found.all();
    for (std::size_t k = 0; k < arrays.size(); ++k) {
      // A bfloat16 of a few that cancel is not off by a part of what is left.
      double largest = kFloat && !one.narrow ? 1e-30 : 0.1;
      for (const double value : expected[k]) largest = std::max(largest, std::fabs(value));
      for (std::size_t at = 0; at < expected[k].size(); ++at) {
        const double off = std::fabs((*arrays[k].second)[at] - expected[k][at]) / largest;
        if (off < kMost) continue;  // false for NaN
        complain(std::string(arrays[k].first) + "[" + std::to_string(at) + "] is off by " +
                 std::to_string(off) + " with " + std::to_string(threads) + " threads");
        break;
      }
    }
    if (kMixed && one.timesteps > 0 &&
        std::none_of(found.dkernel.begin(), found.dkernel.end(), is_precise)) {
      complain("the gradient of the float kernel was rounded to bfloat16");
    }
    if (!same_bits(found, compute(one, in, threads, true))) {
      complain("another result the second time, with " + std::to_string(threads) + " threads");
    }
#if defined(LSTM_IMPL_EMULATED_TILES)
    if (const int left = lstm_impl::tiles::configured_threads.load(); left != 0) {
      complain(std::to_string(left) + " threads have not released their tiles");
    }
#endif
    Results kept = found;
    kept.dx = kept.dh0 = kept.dc0 = kept.dkernel = kept.drecurrent = kept.dbias = kept.dsecond = {};
    if (!same_bits(kept, compute(one, in, threads, false))) {
      complain("another result in inference, with " + std::to_string(threads) + " threads");
    }
  }
  return wrong;
}

int check(const Case& one, std::mt19937& random, const std::vector<int>& thread_counts) {
  const Inputs in = make(one, random);
  return check_stored<float, float>(one, in, thread_counts) +
         check_stored<BFloat16, BFloat16>(one, in, thread_counts);
}

int check_mixed(const Case& one, std::mt19937& random, const std::vector<int>& thread_counts) {
  return check_stored<BFloat16, float>(one, make(one, random), thread_counts);
}

// -- numbers that are not usual in products of floats

// The number of results, with the gradient of a second bias.
constexpr std::size_t kAll = 10;

// Compares each number of a float layer's results with the reference in double: not a number where
// that is none, infinite where it is infinite, and else no further off than rounding explains.
// count: how many of the results, of which the gradients of weights are the last. amplified: by how
// much the numbers amplify the errors of rounding.
int check_numbers(const char* name, const Case& one, const Inputs& in, std::size_t count = kAll,
                  double amplified = 1) {
  std::vector<Doubles> expected = expected_results(one, in);
  expected.resize(std::min(count, expected.size()));
  const double most = amplified * (one.three ? 3e-4 : 1e-5);  // of an array's largest number
  int wrong = 0;
  for (const int threads : {1, 3}) {
    const Results found = compute(one, in, threads, true);
    const auto arrays = found.all();
    for (std::size_t k = 0; k < expected.size(); ++k) {
      double largest = 0;
      for (const double value : expected[k]) {
        if (std::isfinite(value)) largest = std::max(largest, std::fabs(value));
      }
      for (std::size_t at = 0; at < expected[k].size(); ++at) {
        const double ours = (*arrays[k].second)[at], right = expected[k][at];
        const bool good = std::isfinite(right) ? std::fabs(ours - right) <= most * largest
                                               : !std::isfinite(ours);
        if (good) continue;
        std::printf("%s%s: %s[%zu] is %g and not %g, with %d threads\n", name, cell_name(one.cell),
                    arrays[k].first, at, ours, right, threads);
        ++wrong;
        break;
      }
    }
  }
  return wrong;
}

// One sequence of a batch holds such a number, or all numbers are small or large: what the parts of
// floats cannot multiply.
int check_unusual_numbers(std::mt19937& random, CellKind cell, bool three) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kLargest = std::numeric_limits<float>::max();
  const float bad[] = {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(),
                       kLargest,  -kLargest,  0x1.fe8p127f, 1e-40f, -0.0f};
  int wrong = 0;
  for (const Case& shape : {Case{8, 19, 37, 48, false, false, 0}, Case{40, 5, 20, 48, true, true, 0}}) {
    Case one = shape;
    one.cell = cell;
    one.three = three;
    const Inputs usual = make(one, random);
    const auto scaled = [](Floats floats, float factor) {
      for (float& value : floats) value *= factor;
      return floats;
    };
    const auto check = [&](const std::string& name, const Inputs& in, std::size_t count = kAll) {
      wrong += check_numbers((name + (three ? " bf16x3" : "")).c_str(), one, in, count);
    };
    for (const float value : bad) {
      const std::string named = std::to_string(value);
      // Gates that are shut by it let through what is left of rounding, times the number.
      const std::size_t checked = std::fabs(value) > 1 ? 6 : kAll;
      Inputs in = usual;
      in.x[size(one.inputs + 1)] = value;
      check(named + " in x", in, checked);
      // A GRU multiplies what h gives to n by a gate, and the new state by another one, so that even
      // its outputs hold what is left of rounding, times a large number.
      if (cell == CellKind::kLSTM || !(std::fabs(value) > 1)) {
        in = usual;
        in.h0[size(one.units + 1)] = value;
        check(named + " in h0", in, checked);
      }
      in = usual;
      // A larger number than 1e30 may become infinite in a gradient, which is right.
      in.dy[size(one.units + 1)] = std::isfinite(value) && std::fabs(value) > 1 ? 1e30f : value;
      check(named + " in dy", in);
    }
    for (const float value : {kInfinity, 1e30f}) {
      Inputs in = usual;
      in.kernel[5] = in.recurrent[7] = value;
      check(std::to_string(value) + " in the weights", in);
    }
    Inputs in = usual;
    in.x = scaled(in.x, 1e-38f);
    in.kernel = scaled(in.kernel, 1e37f);
    check("denormal x and large weights", in);
    in = usual;
    in.x = scaled(in.x, 1e37f);
    in.kernel = scaled(in.kernel, 1e-38f);
    check("large x and denormal weights", in);
    in = usual;
    for (Floats* const each : {&in.x, &in.h0, &in.c0, &in.bias}) *each = scaled(*each, 1e-36f);
    check("tiny numbers", in);
    in = usual;
    for (Floats* const each : {&in.dy, &in.dh, &in.dc}) *each = scaled(*each, 1e-33f);
    check("tiny gradients", in);
  }
  // Not for many steps: each amplifies the errors of those before.
  Case large{2, 70, 37, 48, false, false, 0};
  large.cell = cell;
  large.three = three;
  Inputs in = make(large, random);
  for (Floats* const each : {&in.kernel, &in.recurrent}) {
    for (float& value : *each) value *= 30;
  }
  // In a GRU, what h gives to n is large, too, and multiplies the error of a gate.
  const double amplified = cell == CellKind::kLSTM ? 10 : 30;
  return wrong + check_numbers("large weights", large, in, kAll, amplified);
}

// Products of floats only: few rows, shared out by units and by rows, and past one piece of the
// weights' gradients; exact, and of three parts.
int check_products_of_floats(std::mt19937& random, const std::vector<int>& few,
                             const std::vector<int>& many, int* cases) {
  int wrong = 0;
  for (const CellKind cell : kCells) {
    for (const bool three : {false, true}) {
      const auto check = [&](Case one, const std::vector<int>& threads) {
        one.cell = cell;
        one.three = three;
        wrong += check_stored<float, float>(one, make(one, random), threads);
        ++*cases;
      };
      for (const int padding : {0, 1, 2}) {
        check({7, 5, 4, 7, padding == 0, padding == 1, padding}, few);
        check({30, 1, 37, 257, padding == 2, padding == 1, padding}, many);
        check({7, 53, 5, 36, true, padding == 0, padding}, few);
        check({20, 7, 70, 129, false, padding == 0, padding}, many);
        check({11, 100, 70, 33, true, padding == 2, padding}, few);
        if (padding == 0) continue;
        check({11, 30, 70, 33, false, padding == 2, padding, false, cell, three, true}, few);
      }
      check({300, 9, 3, 5, false, true, 0}, few);
      wrong += check_unusual_numbers(random, cell, three);
      ++*cases;
    }
  }
  return wrong;
}

// An infinity in one sequence makes numbers infinite, or NaN, only where it does so in the reference.
template <class Value, class Weight>
int check_infinity(Case one, std::mt19937& random) {
  InputsOf<Value, Weight> in = stored<Value, Weight>(make(one, random));
  // Of the second sequence, halfway.
  in.x[size(one.timesteps / 2 * one.batch + 1, one.inputs)] = to_stored<Value>(std::numeric_limits<float>::infinity());
  const std::vector<Doubles> expected = expected_results(one, floats_of(in));
  const Results found = compute(one, in, 1, true);
  const auto arrays = found.all();
  for (std::size_t k = 0; k < 6; ++k) {  // gradients of weights are sums over all sequences
    for (std::size_t at = 0; at < expected[k].size(); ++at) {
      const double right = expected[k][at], ours = (*arrays[k].second)[at];
      if (std::isfinite(right) == std::isfinite(ours)) continue;
      std::printf("T%ld B%ld I%ld H%ld%s, infinity: %s[%zu] is %g, not %g\n",
                  static_cast<long>(one.timesteps), static_cast<long>(one.batch),
                  static_cast<long>(one.inputs), static_cast<long>(one.units),
                  cell_name(one.cell), arrays[k].first, at, ours, right);
      return 1;
    }
  }
  return 0;
}

// -- in int8

Results compute_in_int8(const Case& one, const Inputs& in, int threads) {
  const std::int64_t T = one.timesteps, B = one.batch, H = one.units;
  const Layer layer{T,     B,        one.inputs, H, one.batch_major, one.reverse,
                    false, one.cell, false,      one.only_steps};
  const StepRows rows(one, in.mask);
  const Floats x = rows.only(in.x, one.inputs);
  const bool has_cells = one.cell == CellKind::kLSTM;
  Threads pool_threads(threads == kNobodyComes ? 0 : threads - 1);
  const lstm_impl::Pool pool{
      [&](std::function<void()> work) { pool_threads.schedule(std::move(work)); },
      threads == kNobodyComes ? 3 : threads};
  std::vector<std::int32_t> weights(size(lstm_impl::int8_size(layer)));
  lstm_impl::pack_int8(
      layer, {in.kernel.data(), in.recurrent.data(), in.bias.data(), false, in.second.data()},
      weights.data());
  const auto made = [](std::size_t count) {
    return Floats(count, std::numeric_limits<float>::quiet_NaN());
  };
  Results out{{made(size(rows.count(), H)), made(size(B, H)), made(has_cells ? size(B, H) : 0),
               {}, {}, {}, {}, {}, {}, {}}};
  counted([&] {
    lstm_impl::forward(
        lstm_impl::Int8Forward{layer, weights.data(), x.data(), in.h0.data(),
                               has_cells ? in.c0.data() : nullptr,
                               in.mask.empty() ? nullptr : in.mask.data(), out.y.data(),
                               out.h.data(), has_cells ? out.c.data() : nullptr},
        pool);
  });
  out.y = rows.all(out.y, H, T * B);
  return out;
}

// Rounds `count` numbers `apart` from each other to 127ths of the largest.
void round_to_int8(float* from, std::int64_t count, std::int64_t apart) {
  double most = 0;
  for (std::int64_t k = 0; k < count; ++k) most = std::max(most, std::fabs(double{from[k * apart]}));
  for (std::int64_t k = 0; most > 0 && k < count; ++k) {
    float& value = from[k * apart];
    value = static_cast<float>(std::round(value * 127 / most) * most / 127);
  }
}

// Against sums in double of rounded weights and inputs; what remains is the rounding of h.
int check_in_int8(const Case& one, std::mt19937& random, const std::vector<int>& thread_counts) {
  const Inputs in = make(one, random);
  Inputs rounded = in;
  const std::int64_t I = one.inputs, H = one.units, width = one.gates() * H;
  for (std::int64_t column = 0; column < width; ++column) {
    round_to_int8(rounded.kernel.data() + column, I, width);
    round_to_int8(rounded.recurrent.data() + column, H, width);
  }
  for (std::int64_t row = 0; row < one.timesteps * one.batch; ++row) {
    round_to_int8(rounded.x.data() + row * I, I, 1);
  }
  std::vector<Doubles> expected = expected_results(one, rounded);
  expected.resize(3);
  const Results first = compute_in_int8(one, in, 1);
  const auto arrays = first.all();
  int wrong = 0;
  const auto complain = [&](const char* what, double off) {
    std::printf("T%ld B%ld I%ld H%ld in int8%s: %s, %g\n", static_cast<long>(one.timesteps),
                static_cast<long>(one.batch), static_cast<long>(I), static_cast<long>(H),
                cell_name(one.cell), what, off);
    ++wrong;
  };
  for (std::size_t k = 0; k < expected.size(); ++k) {
    double most = 0;
    for (std::size_t at = 0; at < expected[k].size(); ++at) {
      const double off = std::fabs((*arrays[k].second)[at] - expected[k][at]);
      if (!(off <= most)) most = off;  // NaN stays
    }
    if (!(most < 0.02)) complain(arrays[k].first, most);
  }
  for (const int threads : thread_counts) {  // sums of whole numbers have no order
    if (!same_bits(first, compute_in_int8(one, in, threads))) complain("others by threads", threads);
  }
  return wrong;
}

// Numbers of which nothing is left, and some that are none.
int check_numbers_in_int8(CellKind cell, std::mt19937& random) {
  const Case few_numbers{2, 2, 5, 6, false, false, 0, false, cell};
  int wrong = 0;
  Inputs in = make(few_numbers, random);
  for (float& value : in.x) value *= 1e-39f;
  for (float& value : in.kernel) value *= 1e-39f;
  Inputs without = in;
  std::fill(without.x.begin(), without.x.end(), 0.0f);
  if (!same_bits(compute_in_int8(few_numbers, in, 1), compute_in_int8(few_numbers, without, 1))) {
    std::printf("in int8 denormal numbers count\n");
    ++wrong;
  }
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const bool of_x : {true, false}) {
      Inputs spoilt = make(few_numbers, random);
      (of_x ? spoilt.x[0] : spoilt.recurrent[0]) = bad;
      if (compute_in_int8(few_numbers, spoilt, 1).y[0] == compute_in_int8(few_numbers, spoilt, 1).y[0]) {
        std::printf("in int8 %g becomes a number\n", static_cast<double>(bad));
        ++wrong;
      }
    }
  }
  return wrong;
}

int check_all_in_int8(std::mt19937& random, const std::vector<int>& few,
                      const std::vector<int>& many) {
  int wrong = 0;
  for (const CellKind cell : kCells) {
    for (const int padding : {0, 1, 2}) {
      const bool one = padding == 1, two = padding == 2;
      const auto check = [&](Case sizes, const std::vector<int>& thread_counts) {
        sizes.padding = padding;
        sizes.cell = cell;
        wrong += check_in_int8(sizes, random, thread_counts);
      };
      check({2, 3, 1, 1, one, two, 0}, few);
      check({0, 2, 3, 5, one, two, 0}, few);
      check({9, 5, 7, 33, two, one, 0}, few);
      check({30, 1, 37, 257, two, one, 0}, many);
      check({7, 8, 33, 130, one, two, 0}, many);
      check({6, 53, 65, 70, two, one, 0}, many);
      check({11, 100, 70, 33, one, two, 0}, many);
    }
  }
  // Numbers of which nothing is left, and some that are none.
  for (const CellKind cell : kCells) wrong += check_numbers_in_int8(cell, random);
  if (lstm_impl::int8_problem({1, 1, 1, (1 << 17) + 1, false, false}).empty() ||
      !lstm_impl::int8_problem({1, 1, 1 << 17, 1, false, false}).empty()) {
    std::printf("in int8 the longest sums are not the ones that fit\n");
    ++wrong;
  }
  return wrong;
}

// Some sizes for each cell and each kind of product. Returns how many are wrong, of `cases`.
int check_some(std::mt19937& random, int* cases) {
  const std::vector<int> threads{1, 3};
  int wrong = 0;
  for (const CellKind cell : kCells) {
    for (const int padding : kPaddings) {
      const bool one = padding == 1, two = padding == 2;
      wrong += check({5, 3, 4, 7, one, two, padding, false, cell}, random, threads);
      wrong += check({1, 2, 9, 40, two, one, padding, false, cell}, random, threads);
      wrong += check({11, 13, 9, 21, two, one, padding, true, cell}, random, threads);
      wrong += check_mixed({11, 13, 9, 21, one, two, padding, false, cell}, random, threads);
      wrong += check_in_int8({4, 5, 7, 33, one, two, padding, false, cell}, random, threads);
      *cases += 5;
    }
    // Only the steps that are there, of sequences of falling and of other lengths, or what is kept
    // with places.
    for (const int padding : {1, 2}) {
      const bool one = padding == 1, two = padding == 2;
      wrong += check({11, 13, 9, 21, two, one, padding, false, cell, false, true}, random, threads);
      wrong += check({1, 3, 4, 7, one, two, padding, false, cell, false, true}, random, threads);
      wrong += check_mixed({6, 30, 9, 21, one, two, padding, true, cell, false, true}, random, threads);
      wrong += check_in_int8({4, 5, 7, 33, one, two, padding, false, cell, false, true}, random, threads);
      wrong += check({11, 13, 9, 21, two, one, padding, false, cell, false, false, true}, random, threads);
      wrong += check_mixed({6, 30, 9, 21, one, two, padding, true, cell, false, false, true}, random, threads);
      *cases += 6;
    }
    // Shared out by units and by rows.
    wrong += check({7, 8, 33, 130, true, false, 1, true, cell}, random, threads);
    wrong += check({6, 30, 65, 70, false, true, 0, true, cell}, random, threads);
    wrong += check_in_int8({7, 8, 33, 130, true, false, 1, false, cell}, random, threads);
    *cases += 3;
    wrong += check_infinity<float, float>({30, 5, 7, 21, false, false, 0, true, cell}, random);
    wrong += check_numbers_in_int8(cell, random);
    *cases += 2;
  }
  return wrong;
}

// -- where there is no memory

enum Outcome { kRight = 0, kRefused = 1, kWrong = 2 };

// What becomes of a call whose allocation number `number` fails.
template <class Value, class Weight>
Outcome outcome(const Case& one, const Inputs& exact, long number) {
  const InputsOf<Value, Weight> in = stored<Value, Weight>(exact);
  fail_at = number;
  try {
    const Results found = compute(one, in, 3, true);
    fail_at = -1;
    return same_bits(found, compute(one, in, 3, true)) ? kRight : kWrong;
  } catch (const std::bad_alloc&) {
    return kRefused;
  }
}

// Fails each allocation in turn, in a process of its own, until there is none of that number.
template <class Value, class Weight>
int check_memory(const Case& one, const Inputs& in, int* refused) {
  for (long number = 0;; ++number) {
    const pid_t child = fork();
    if (child == 0) {
      const Outcome found = outcome<Value, Weight>(one, in, number);
      _exit(found == kRight && reached.load() ? kRight : found == kRight ? 3 : found);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) == kWrong) {
      std::printf("T%ld B%ld H%ld: allocation %ld fails, and so does the process (%d)\n",
                  static_cast<long>(one.timesteps), static_cast<long>(one.batch),
                  static_cast<long>(one.units), number, status);
      return 1;
    }
    if (WEXITSTATUS(status) == kRefused) ++*refused;
    if (WEXITSTATUS(status) == 3) return 0;
  }
}

int check_memory() {
  std::mt19937 random(0);
  int wrong = 0, refused = 0;
  // Shared out by units, by rows, and past one piece of the weights' gradients; few rows.
  for (const Case& one : {Case{7, 8, 33, 130, true, false, 2}, Case{11, 100, 70, 33, true, true, 1},
                          Case{300, 9, 3, 5, false, false, 0}, Case{4, 2, 70, 261, true, true, 0},
                          Case{3, 2, 64, 256, false, false, 1},
                          Case{4, 30, 9, 33, true, false, 2, false, CellKind::kGRU},
                          Case{3, 5, 9, 33, false, true, 1, false, CellKind::kGRUResetBefore},
                          Case{9, 20, 9, 33, true, false, 0, true, CellKind::kGRU},
                          Case{9, 20, 9, 33, false, true, 0, true, CellKind::kGRUResetBefore},
                          Case{7, 8, 33, 70, true, true, 3},
                          Case{4, 30, 9, 33, false, true, 3, false, CellKind::kGRU},
                          Case{7, 53, 5, 36, false, false, 4, false, CellKind::kLSTM, true}}) {
    const Inputs in = make(one, random);
    wrong += check_memory<float, float>(one, in, &refused) +
             check_memory<BFloat16, BFloat16>(one, in, &refused) +
             check_memory<BFloat16, float>(one, in, &refused);
  }
  std::printf("%d calls refused for lack of memory, %d wrong\n", refused, wrong);
  return wrong == 0 && refused > 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  const std::string asked = count > 1 ? arguments[1] : "";
  if (asked == "memory") return check_memory();
  if (asked == "products") return std::puts(lstm_impl::products_name()) < 0;
  std::mt19937 random(count > 1 ? static_cast<unsigned>(std::atoi(arguments[1])) : 0);
  int wrong = check_sizes(), cases = 0;
  if (asked == "some") {
    wrong += check_some(random, &cases);
    std::printf("%d cases, %d wrong\n", cases + 1, wrong);
    return wrong == 0 ? 0 : 1;
  }
  std::vector<int> few{1, 2, 3, kNobodyComes};
  std::vector<int> many{1, 2, 3, 4, 5, 6, 7, 8, kNobodyComes};
  if (asked == "few") few = many = {1, 3};
  if (asked == "floats") {
    wrong += check_products_of_floats(random, {1, 3}, {1, 2, 3}, &cases);
    std::printf("%d cases, %d wrong\n", cases, wrong);
    return wrong == 0 ? 0 : 1;
  }
  for (const std::int64_t batch : {0, 1, 3, 5, 13}) {
    for (const std::int64_t units : {1, 4, 7, 33}) {
      for (const std::int64_t timesteps : {0, 1, 2, 7}) {
        const std::int64_t inputs = 1 + (batch * 5 + units + timesteps) % 9;
        for (int variant = 0; variant < 4; ++variant) {
          const Case one{timesteps,
                         batch,
                         inputs,
                         units,
                         variant % 2 == 1,
                         variant >= 2,
                         static_cast<int>((batch + units + timesteps + variant) % 5)};
          wrong += check(one, random, few);
          ++cases;
        }
      }
    }
  }
  // Large enough for the work to be shared out: by units, and by rows.
  for (const int padding : {0, 1, 2}) {
    wrong += check({9, 1, 20, 260, false, padding == 1, padding}, random, many);
    wrong += check({7, 8, 33, 130, true, padding == 2, padding}, random, many);
    wrong += check({6, 30, 65, 70, false, false, padding}, random, many);
    wrong += check({11, 100, 70, 33, true, true, padding}, random, many);
    cases += 4;
  }
  // So few rows that the weights are read as they lie.
  for (const int padding : {0, 1, 2}) {
    wrong += check({1, 1, 64, 520, false, padding == 1, padding}, random, many);
    wrong += check({1, 8, 199, 260, true, padding == 2, padding}, random, many);
    wrong += check({4, 2, 70, 261, true, true, padding}, random, many);
    wrong += check({3, 5, 70, 261, padding != 0, padding == 1, padding}, random, few);
    wrong += check({18, 1, 66, 260, padding == 2, padding != 0, padding}, random, few);
    cases += 5;
  }
  // And as gradients read and write them, where units, or inputs too, fill registers.
  for (const int padding : {0, 1, 2}) {
    wrong += check({1, 1, 64, 512, false, padding == 1, padding}, random, many);
    wrong += check({2, 4, 208, 256, true, padding == 2, padding}, random, many);
    wrong += check({15, 1, 70, 272, padding == 2, true, padding}, random, few);
    wrong += check({3, 6, 48, 64, padding == 1, false, padding}, random, few);
    wrong += check({50, 5, 300, 16, padding == 0, padding == 1, padding}, random, few);
    cases += 5;
  }
  // So few that the input's product alone reads its kernel as it lies.
  for (const int padding : {0, 1, 2}) {
    wrong += check({13, 3, 37, 48, padding == 1, padding == 2, padding}, random, few);
    wrong += check({39, 1, 5, 256, padding == 2, padding == 1, padding}, random, few);
    cases += 2;
  }
  // Only the steps that are there, or what is kept with places: all lengths at once, and any steps.
  for (const CellKind cell : kCells) {
    for (const int padding : {1, 2}) {
      const bool one = padding == 1, two = padding == 2;
      wrong += check({7, 8, 33, 130, one, two, padding, false, cell, false, true}, random, many);
      wrong += check({9, 50, 40, 36, two, one, padding, false, cell, false, true}, random, few);
      wrong += check({30, 1, 37, 257, two, one, padding, true, cell, false, true}, random, few);
      wrong += check_mixed({11, 26, 7, 33, one, one, padding, false, cell, false, true}, random, few);
      wrong += check_in_int8({7, 53, 5, 36, two, two, padding, false, cell, false, true}, random, few);
      wrong += check({9, 50, 40, 36, two, one, padding, false, cell, false, false, true}, random, few);
      wrong += check({30, 1, 37, 257, one, two, padding, true, cell, false, false, true}, random, few);
      wrong += check_mixed({11, 26, 7, 33, two, two, padding, false, cell, false, false, true}, random, few);
      cases += 8;
    }
  }
  // Many tasks of each group of rows, and weights that are read for more of them at once.
  wrong += check({40, 60, 64, 64, false, true, 1}, random, few);
  wrong += check({9, 50, 40, 260, true, false, 2}, random, {2, 5});
  cases += 2;
  // Past one piece of the weights' gradients.
  wrong += check({300, 9, 3, 5, false, false, 0}, random, few);
  // Products of bfloat16 of one sequence with many weights, or of all where dots are asked for.
  for (const int padding : {0, 1, 2}) {
    wrong += check({30, 1, 37, 257, padding == 2, padding == 1, padding}, random, many);
    wrong += check({30, 1, 37, 257, padding == 2, padding == 1, padding, true}, random, many);
    wrong += check({7, 53, 5, 36, true, padding == 0, padding, true}, random, many);
    wrong += check({20, 7, 70, 129, false, padding == 0, padding, true}, random, many);
    cases += 4;
  }
  // Weights of float in a layer of bfloat16: few rows, shared out by units and by rows, and past
  // one piece of the weights' gradients.
  for (const int padding : {0, 1, 2}) {
    wrong += check_mixed({3, 5, 9, 7, padding == 0, padding == 1, padding}, random, few);
    wrong += check_mixed({4, 2, 70, 272, padding == 2, padding == 0, padding}, random, few);
    wrong += check_mixed({20, 7, 70, 129, false, padding == 0, padding}, random, many);
    wrong += check_mixed({11, 100, 70, 33, true, padding == 2, padding}, random, many);
    cases += 4;
  }
  wrong += check_mixed({300, 9, 3, 5, false, true, 0}, random, few);
  wrong += check_mixed({0, 2, 3, 5, false, true, 0}, random, few);
  cases += 2;
  // GRUs: small ones, shared out by units and by rows, few rows with many weights, and past one piece
  // of the weights' gradients.
  for (const CellKind cell : {kCells[1], kCells[2]}) {
    for (const int padding : {0, 1, 2}) {
      const bool one = padding == 1, two = padding == 2;
      wrong += check({2, 3, 1, 1, one, two, padding, false, cell}, random, few);
      wrong += check({0, 2, 3, 5, one, two, padding, false, cell}, random, few);
      wrong += check({7, 0, 3, 5, one, two, padding, false, cell}, random, few);
      wrong += check({7, 5, 4, 7, two, one, padding, false, cell}, random, few);
      wrong += check({9, 1, 20, 260, two, one, padding, false, cell}, random, many);
      wrong += check({7, 8, 33, 130, one, two, padding, false, cell}, random, many);
      wrong += check({6, 30, 65, 70, one, two, padding, false, cell}, random, many);
      wrong += check({1, 1, 64, 512, two, one, padding, false, cell}, random, many);
      wrong += check({4, 2, 70, 261, one, two, padding, false, cell}, random, few);
      wrong += check({2, 4, 208, 256, one, two, padding, false, cell}, random, few);
      wrong += check_mixed({11, 50, 70, 33, two, one, padding, false, cell}, random, few);
      // Products of bfloat16 of one sequence with many weights, or of all where dots are asked for.
      wrong += check({30, 1, 37, 257, two, one, padding, true, cell}, random, many);
      wrong += check({7, 53, 5, 36, one, two, padding, true, cell}, random, many);
      wrong += check({20, 7, 70, 129, two, one, padding, true, cell}, random, many);
      wrong += check_mixed({20, 7, 70, 129, one, two, padding, false, cell}, random, few);
      cases += 15;
    }
    wrong += check({300, 9, 3, 5, false, true, 0, false, cell}, random, few);
    ++cases;
  }
  wrong += check_products_of_floats(random, few, many, &cases);
  for (const CellKind cell : kCells) {
    for (const bool narrow : {false, true}) {
      for (const std::int64_t units : {3, 21}) {
        const Case one{30, 5, 7, units, false, narrow, 0, narrow, cell};
        wrong += check_infinity<float, float>(one, random) +
                 check_infinity<BFloat16, BFloat16>(one, random);
        ++cases;
      }
    }
  }
  wrong += check_all_in_int8(random, few, many);
  cases += 67;
  std::printf("%d cases, %d wrong\n", cases + 1, wrong);
  return wrong == 0 ? 0 : 1;
}
