#pragma GCC visibility push(default)
#include "c_api.h"
#pragma GCC visibility pop

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <exception>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

#include "bfloat16.h"
#include "int8.h"
#include "kernels.h"
#include "memory.h"
#include "parts.h"
#include "thread_team.h"
#include "transpose.h"

namespace lstm_impl {
namespace {

// Returns how many processors the control group of a container grants, or `all` if it sets no
// limit. If there were more threads than that, the system would stop all of them once the quota is
// used up.
int within_quota(int all) {
  const std::string folder = "/sys/fs/cgroup/";
  double quota = 0, period = 0;  // microseconds
  if (std::ifstream limits(folder + "cpu.max"); limits) {  // version 2; "max" is no number
    limits >> quota >> period;
  } else {
    std::ifstream(folder + "cpu/cpu.cfs_quota_us") >> quota;  // -1 without a limit
    std::ifstream(folder + "cpu/cpu.cfs_period_us") >> period;
  }
  if (!(quota > 0 && period > 0)) return all;
  return static_cast<int>(std::clamp(std::ceil(quota / period), 1.0, static_cast<double>(all)));
}

// The threads that wait for work. The object is never destroyed, because the process may end while
// they wait.
class Threads {
 public:
  // Returns the threads of this process. The child of a fork has none of the threads of its parent,
  // and starts its own.
  static Threads& here() {
    const std::lock_guard<std::mutex> lock(instance_mutex());
    if (instance() == nullptr) instance() = new Threads();
    return *instance();
  }

  static void survive_fork() {
    pthread_atfork([] { instance_mutex().lock(); }, [] { instance_mutex().unlock(); },
                   [] {
                     instance() = nullptr;
                     instance_mutex().unlock();
                   });
  }

  void schedule(std::function<void()> work, int threads) {
    bool asleep;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      // Starts one more thread if all are busy and more are allowed, because several callers may
      // call at the same time.
      if (waiting_ <= static_cast<int>(work_.size()) && started_ < std::max(threads - 1, most_)) {
        start();
      }
      if (started_ == 0) return;  // the caller does it all
      work_.push_back(std::move(work));
      queued_.store(static_cast<int>(work_.size()), std::memory_order_relaxed);
      asleep = spinning_ < static_cast<int>(work_.size());
    }
    if (asleep) some_.notify_one();
  }

  // Returns whether all threads sleep, and this call comes so long after the last one that they
  // would sleep again before the next. Then waking them does not pay, because a small layer takes
  // less time than waking a thread.
  bool asleep() {
    const auto now = std::chrono::steady_clock::now();
    const std::lock_guard<std::mutex> lock(mutex_);
    return done_ + kSpin < now && spinning_ == 0;
  }

  // Notes the end of a call that may have wanted threads.
  void note_end() {
    const auto now = std::chrono::steady_clock::now();
    const std::lock_guard<std::mutex> lock(mutex_);
    done_ = now;
  }

  static int cpus() {
    static const int most = within_quota(CPU_SETSIZE);
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
      return std::clamp(static_cast<int>(CPU_COUNT(&set)), 1, most);
    }
    return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, most);
  }

 private:
  static std::mutex& instance_mutex() {
    static auto* mutex = new std::mutex;
    return *mutex;
  }
  static Threads*& instance() {
    static Threads* threads = nullptr;
    return threads;
  }

  // The process may not be allowed to start more threads. Then fewer threads do the work.
  void start() {
    try {
      std::thread thread([this] { serve(); });
      pthread_setname_np(thread.native_handle(), "liblstm");
      thread.detach();
      ++started_;
    } catch (const std::system_error&) {
    }
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      ++waiting_;
      if (work_.empty()) {
        ++spinning_;
        lock.unlock();
        const auto end = std::chrono::steady_clock::now() + kSpin;
        while (queued_.load(std::memory_order_relaxed) == 0 &&
               std::chrono::steady_clock::now() < end) {
          for (int k = 0; k < kPauses && queued_.load(std::memory_order_relaxed) == 0; ++k) {
            ThreadTeam::pause();
          }
        }
        lock.lock();
        --spinning_;
      }
      some_.wait(lock, [this] { return !work_.empty(); });
      --waiting_;
      std::function<void()> work = std::move(work_.front());
      work_.pop_front();
      queued_.store(static_cast<int>(work_.size()), std::memory_order_relaxed);
      lock.unlock();
      work();
      work = nullptr;
      lock.lock();
    }
  }

  // For this time, idle threads spin before they sleep. A caller that calls again soon, such as
  // PyTorch, finds them awake: waking a thread takes as long as a small layer. A pause takes 13 to
  // 60 nanoseconds.
  static constexpr std::chrono::microseconds kSpin{150};
  static constexpr int kPauses = 50;  // between two looks at the clock

  const int most_ = cpus() - 1;
  std::mutex mutex_;
  std::condition_variable some_;
  std::deque<std::function<void()>> work_;
  std::atomic<int> queued_{0};  // the size of work_, for who looks at it without the lock
  int waiting_ = 0, spinning_ = 0, started_ = 0;  // waiting: those that spin among them
  std::chrono::steady_clock::time_point done_{};
};

// This runs before any thread can call. Otherwise a child that is forked while another thread
// creates the threads would wait for it forever.
const bool survives_fork = [] {
  Threads::survive_fork();
  Shelf::shared();
  return true;
}();

thread_local std::string last_problem;
thread_local const char* last_error = "";

LstmCode failed(LstmCode code, const char* words) {
  last_error = words;
  return code;
}

Layer layer_of(const LstmLayer& given) {
  return {given.timesteps,
          given.batch,
          given.inputs,
          given.units,
          given.batch_major != 0,
          given.reverse != 0,
          given.type == LSTM_FLOAT_BY_BFLOAT16,
          static_cast<CellKind>(given.cell),
          given.type == LSTM_FLOAT_BY_THREE_PRODUCTS,
          given.only_steps != 0,
          given.keeps_places != 0};
}

constexpr std::int32_t kTypes = 6, kCells = 3;  // of LstmType, of LstmCell

// The places of the masks among the pointers of lstm_forward(), lstm_backward() and
// lstm_input_gradient().
constexpr std::size_t kForwardMask = 6, kBackwardMask = 4, kInputGradientMask = 2;

// Returns what is wrong with a layer. No caller should pass such a layer, but a program in another
// language may.
std::string problem_of(const LstmLayer& given) {
  for (const std::int64_t size : {given.timesteps, given.batch, given.inputs, given.units}) {
    if (size < 0) return "an axis of " + std::to_string(size) + " is shorter than 0";
  }
  if (given.type < 0 || given.type >= kTypes) {
    return std::to_string(given.type) + " is no type of a layer";
  }
  if (given.cell < 0 || given.cell >= kCells) {
    return std::to_string(given.cell) + " is no cell of a layer";
  }
  if (given.transposed != 0 && given.type == LSTM_INT8) {
    return "a layer in int8 has no transposed weights; lstm_transpose() copies them";
  }
  if (given.only_steps != 0 && given.keeps_places != 0) {
    return "a layer with only_steps keeps nothing of the steps that are left out";
  }
  return layer_of(given).problem();
}

LstmCode checked(const LstmLayer& given) {
  const Layer layer = layer_of(given);
  last_problem = problem_of(given);
  if (last_problem.empty() && given.type == LSTM_INT8) last_problem = int8_problem(layer);
  return last_problem.empty() ? LSTM_OK : failed(LSTM_INVALID, last_problem.c_str());
}

// Why a mask does not fit a layer with only its steps, or an empty string.
std::string problem_of_steps(const LstmLayer& given, const void* mask) {
  const Layer layer = layer_of(given);
  if (!layer.only_steps || layer.rows() == 0) return "";
  if (mask == nullptr) return "a layer with only_steps has no mask that says which steps are there";
  const auto* const first = static_cast<const unsigned char*>(mask);
  const bool any = std::any_of(first, first + layer.rows(), [](auto step) { return step > LSTM_STEP; });
  return any ? "sequences of a layer with only_steps cannot start over" : "";
}

// The same of a call with this mask, which may be null.
LstmCode checked(const LstmLayer& given, const void* mask) {
  if (const LstmCode code = checked(given); code != LSTM_OK) return code;
  last_problem = problem_of_steps(given, mask);
  return last_problem.empty() ? LSTM_OK : failed(LSTM_INVALID, last_problem.c_str());
}

// A call with at most this many steps is finished before the threads of another pool wake up, so
// the library's own threads, which spin, do it.
constexpr std::int64_t kFewSteps = 4;

// Returns a pool with at most `given` threads of the library's own. 0 means one on each CPU.
Pool own_pool(Threads& own, int given) {
  const int threads = given > 0 ? given : Threads::cpus();
  return {[&own, threads](std::function<void()> task) { own.schedule(std::move(task), threads); },
          threads, own.asleep()};
}

// Calls work(pool) with the threads of the caller, or with the library's own.
template <class Work>
void with_pool(const LstmLayer& layer, const LstmThreads* callers, const Work& work) {
  if (callers == nullptr || layer.timesteps <= kFewSteps) {
    Threads& own = Threads::here();
    work(own_pool(own, callers != nullptr ? callers->count : layer.threads));
    own.note_end();
    return;
  }
  work(Pool{[callers](std::function<void()> task) {
              using Task = std::function<void()>;
              auto held = std::make_unique<Task>(std::move(task));
              callers->schedule(
                  callers->pool,
                  [](void* argument) { (*std::unique_ptr<Task>(static_cast<Task*>(argument)))(); },
                  held.get());
              held.release();
            },
            callers->count});
}

// Returns why a matrix cannot be transposed, or an empty string if it can.
std::string problem_of_matrix(std::int64_t rows, std::int64_t columns, std::int32_t type) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  for (const std::int64_t size : {rows, columns}) {
    if (size < 0 || size > kMost) {
      return "a matrix with an axis of " + std::to_string(size) + "; expected 0 to " +
             std::to_string(kMost);
    }
  }
  if (type == LSTM_FLOAT || type == LSTM_BFLOAT16) return "";
  return std::to_string(type) + " is no type of a matrix; expected float or bfloat16";
}

// Runs `work`, and converts its exceptions to error codes, for example if there is no memory.
template <class Work>
LstmCode guarded(const Work& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return failed(LSTM_NO_MEMORY, "there is no memory for the scratch of a fused LSTM call");
  } catch (const std::exception& error) {
    last_problem = error.what();
    return failed(LSTM_FAILED, last_problem.c_str());
  }
}

// The type of a layer's numbers, and the type of its weights and their gradients.
template <class ValueType, class WeightType>
struct NumberTypes {
  using Value = ValueType;
  using Weight = WeightType;
};

// Runs `work` with the layer, the threads and its NumberTypes. mask: of the call.
template <class Work>
LstmCode run(const LstmLayer& given, const LstmThreads* threads, const void* mask, const Work& work) {
  return guarded([&] {
    if (const LstmCode code = checked(given, mask); code != LSTM_OK) return code;
    if (given.type == LSTM_INT8) {
      return failed(LSTM_INVALID, "a layer in int8 keeps nothing and has no gradients");
    }
    with_pool(given, threads, [&, layer = layer_of(given)](const Pool& pool) {
      if (given.type == LSTM_BFLOAT16) {
        work(layer, pool, NumberTypes<BFloat16, BFloat16>{});
      } else if (given.type == LSTM_MIXED_BFLOAT16) {
        work(layer, pool, NumberTypes<BFloat16, float>{});
      } else {
        work(layer, pool, NumberTypes<float, float>{});
      }
    });
    return LSTM_OK;
  });
}

// Returns the pointers of a call one after another.
class Pointers {
 public:
  explicit Pointers(void* const* first) : next_(first) {}
  template <class Value>
  Value* take() {
    return static_cast<Value*>(*next_++);
  }

 private:
  void* const* next_;
};

// Returns the pointer that only a layer with a second bias has. It comes after `count` other
// pointers. Without a second bias, returns null.
template <class Value>
Value* extra_pointer(const LstmLayer& layer, void* const* pointers, std::size_t count) {
  return layer.cell == LSTM_GRU ? static_cast<Value*>(pointers[count]) : nullptr;
}

LstmCode forward_in_int8(const LstmLayer& given, const LstmThreads* threads,
                         void* const* pointers) {
  return guarded([&] {
    const void* const mask = pointers[kForwardMask];
    if (const LstmCode code = checked(given, mask); code != LSTM_OK) return code;
    Pointers next(pointers);
    const auto* weights = next.take<const std::int32_t>();
    next.take<const float>();
    next.take<const float>();
    const auto read = [&] { return next.take<const float>(); };
    const auto write = [&] { return next.take<float>(); };
    const Int8Forward call{layer_of(given),
                           weights,
                           read(),
                           read(),
                           read(),
                           next.take<const unsigned char>(),
                           write(),
                           write(),
                           write()};
    with_pool(given, threads, [&](const Pool& pool) { forward(call, pool); });
    return LSTM_OK;
  });
}

}  // namespace
}  // namespace lstm_impl

using lstm_impl::Layer;
using lstm_impl::Pointers;
using lstm_impl::Pool;

// The number of pointers of a call, without the one for a second bias.
static constexpr std::size_t kForwardPointers = 13, kBackwardPointers = 17, kPackPointers = 4;

std::int32_t lstm_version() { return LSTM_VERSION; }

const char* lstm_error() { return lstm_impl::last_error; }

std::int64_t lstm_lanes() { return Layer{1, 1, 1, 1, false, false}.cells_size(); }

LstmCode lstm_check(const LstmLayer* layer) {
  return lstm_impl::guarded([&] { return lstm_impl::checked(*layer); });
}

// The sizes of a layer that cannot be computed may overflow, so they are checked first.
std::int64_t lstm_gates_size(const LstmLayer* layer) {
  return lstm_check(layer) == LSTM_OK ? lstm_impl::layer_of(*layer).gates_size() : 0;
}

std::int64_t lstm_cells_size(const LstmLayer* layer) {
  return lstm_check(layer) == LSTM_OK ? lstm_impl::layer_of(*layer).cells_size() : 0;
}

std::int64_t lstm_packed_size(const LstmLayer* given) {
  if (lstm_check(given) != LSTM_OK) return 0;
  return lstm_impl::int8_size(lstm_impl::layer_of(*given)) *
         static_cast<std::int64_t>(sizeof(std::int32_t));
}

LstmCode lstm_pack(const LstmLayer* given, void* const* pointers) {
  if (const LstmCode code = lstm_check(given); code != LSTM_OK) return code;
  Pointers next(pointers);
  const auto read = [&] { return next.take<const float>(); };
  lstm_impl::Weights<float> weights{read(), read(), read()};
  auto* const packed = next.take<std::int32_t>();
  weights.recurrent_bias =
      lstm_impl::extra_pointer<const float>(*given, pointers, kPackPointers);
  lstm_impl::pack_int8(lstm_impl::layer_of(*given), weights, packed);
  return LSTM_OK;
}

const char* lstm_products(const LstmLayer* given) {
  static thread_local std::string products;
  const LstmCode code = lstm_impl::guarded([&] {
    if (const LstmCode unfit = lstm_impl::checked(*given); unfit != LSTM_OK) return unfit;
    if (given->type == LSTM_INT8) {
      products = lstm_impl::int8_products();
    } else if (given->type == LSTM_FLOAT || given->type == LSTM_FLOAT_BY_THREE_PRODUCTS) {
      products = lstm_impl::describe_float_products(lstm_impl::layer_of(*given));
    } else {
      products = lstm_impl::describe_products(lstm_impl::layer_of(*given));
    }
    return LSTM_OK;
  });
  return code == LSTM_OK ? products.c_str() : lstm_error();
}

// The members of a braced list are evaluated in order.
LstmCode lstm_forward(const LstmLayer* given, const LstmThreads* threads, void* const* pointers) {
  if (given->type == LSTM_INT8 && pointers[10] == nullptr && pointers[11] == nullptr) {
    return lstm_impl::forward_in_int8(*given, threads, pointers);
  }
  const void* const mask = pointers[lstm_impl::kForwardMask];
  return lstm_impl::run(*given, threads, mask, [&](const Layer& layer, const Pool& pool, auto types) {
    using Value = typename decltype(types)::Value;
    using Weight = typename decltype(types)::Weight;
    Pointers next(pointers);
    const auto read_weight = [&] { return next.take<const Weight>(); };
    const lstm_impl::Weights<Weight> weights{
        read_weight(), read_weight(), read_weight(), given->transposed != 0,
        lstm_impl::extra_pointer<const Weight>(*given, pointers, kForwardPointers)};
    const auto read = [&] { return next.take<const Value>(); };
    const auto write = [&] { return next.take<Value>(); };
    lstm_impl::Forward<Value, Weight> call{layer,   weights,
                                           read(),  read(),
                                           read(),  next.take<const unsigned char>(),
                                           write(), write(),
                                           write(), write(),
                                           write(), write()};
    lstm_impl::forward(call, pool);
  });
}

LstmCode lstm_backward(const LstmLayer* given, const LstmThreads* threads, void* const* pointers) {
  const void* const mask = pointers[lstm_impl::kBackwardMask];
  return lstm_impl::run(*given, threads, mask, [&](const Layer& layer, const Pool& pool, auto types) {
    using Value = typename decltype(types)::Value;
    using Weight = typename decltype(types)::Weight;
    Pointers next(pointers);
    const auto read = [&] { return next.take<const Value>(); };
    const auto write = [&] { return next.take<Value>(); };
    const bool transposed = given->transposed != 0;
    const auto matrix = [&](lstm_impl::Index rows, void* callers) {
      return lstm_impl::Matrix(transposed, rows, layer.gates() * layer.units,
                               static_cast<Weight*>(callers), pool);
    };
    const auto* const recurrent = next.take<const Weight>();
    constexpr int kOfKernel = 14;  // the place of its gradient among the pointers
    const auto of_kernel = matrix(layer.inputs, pointers[kOfKernel]);
    const auto of_recurrent = matrix(layer.units, pointers[kOfKernel + 1]);
    lstm_impl::Backward<Value, Weight> call{layer,
                                            recurrent,
                                            transposed,
                                            read(),
                                            read(),
                                            read(),
                                            next.take<const unsigned char>(),
                                            read(),
                                            read(),
                                            read(),
                                            read(),
                                            read(),
                                            read(),
                                            next.take<float>(),
                                            write(),
                                            write(),
                                            of_kernel.get(),
                                            of_recurrent.get(),
                                            static_cast<Weight*>(pointers[kOfKernel + 2]),
                                            lstm_impl::extra_pointer<Weight>(*given, pointers,
                                                                             kBackwardPointers)};
    lstm_impl::backward(call, pool);
    of_kernel.write();
    of_recurrent.write();
  });
}

LstmCode lstm_input_gradient(const LstmLayer* given, const LstmThreads* threads,
                             void* const* pointers) {
  const void* const mask = pointers[lstm_impl::kInputGradientMask];
  return lstm_impl::run(*given, threads, mask, [&](const Layer& layer, const Pool& pool, auto types) {
    using Value = typename decltype(types)::Value;
    using Weight = typename decltype(types)::Weight;
    Pointers next(pointers);
    const auto* const kernel = next.take<const Weight>();
    const auto* dz = next.take<const float>();
    const auto* steps = next.take<const unsigned char>();
    lstm_impl::InputGradient<Value, Weight> call{layer, kernel, given->transposed != 0, dz, steps,
                                                 next.take<Value>()};
    lstm_impl::input_gradient(call, pool);
  });
}

LstmCode lstm_transpose(std::int64_t rows, std::int64_t columns, std::int32_t type,
                        std::int32_t threads, const void* from, void* to) {
  return lstm_impl::guarded([&] {
    lstm_impl::last_problem = lstm_impl::problem_of_matrix(rows, columns, type);
    if (!lstm_impl::last_problem.empty()) {
      return lstm_impl::failed(LSTM_INVALID, lstm_impl::last_problem.c_str());
    }
    // The end of this call is not noted. Therefore a call of a small layer wakes threads only if
    // another layer was computed just before.
    const Pool pool = lstm_impl::own_pool(lstm_impl::Threads::here(), threads);
    const auto transpose = [&](auto* numbers) {
      using Value = std::remove_pointer_t<decltype(numbers)>;
      lstm_impl::transpose_matrix(static_cast<const Value*>(from), rows, columns, numbers, pool);
    };
    if (type == LSTM_FLOAT) {
      transpose(static_cast<float*>(to));
    } else {
      transpose(static_cast<lstm_impl::BFloat16*>(to));
    }
    return LSTM_OK;
  });
}
