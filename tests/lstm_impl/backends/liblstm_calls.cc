// The C interface of liblstm, called by many threads at once: with its own threads and with the
// caller's. Prints what is wrong, and exits with 1 if something is. It ends while threads still call.
//
//   liblstm_calls
//   liblstm_calls fork     forks meanwhile, and each child calls as well
#include "c_api.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using Floats = std::vector<float>;

std::atomic<int> wrong{0};

void check(bool right, const char* what) {
  if (right) return;
  std::printf("wrong: %s (%s)\n", what, lstm_error());
  ++wrong;
}

Floats random(std::int64_t count, unsigned seed) {
  std::mt19937 numbers(seed);
  std::uniform_real_distribution<float> within(-0.5f, 0.5f);
  Floats made(static_cast<std::size_t>(count));
  for (float& each : made) each = within(numbers);
  return made;
}

// A training step of one layer: everything that it reads, and all that it writes.
class Step {
 public:
  Step(std::int64_t timesteps, std::int64_t batch, std::int64_t inputs, std::int64_t units,
       std::int32_t threads)
      : layer_{timesteps, batch, inputs, units, 0, 0, 0, threads, 0, 0, 0, 0} {
    const std::int64_t rows = timesteps * batch, state = batch * units;
    unsigned seed = 1;
    for (const std::int64_t size : {inputs * 4 * units, units * 4 * units, 4 * units, rows * inputs,
                                    state, state, rows * units}) {
      given_.push_back(random(size, seed++));
    }
    const std::int64_t gates = lstm_gates_size(&layer_), cells = lstm_cells_size(&layer_);
    sizes_ = {rows * units, state,           state,         gates,     cells,        gates,
              state,        state, inputs * 4 * units, units * 4 * units, 4 * units, rows * inputs};
  }

  std::vector<Floats> run(const LstmThreads* threads) const {
    std::vector<Floats> out;
    for (const std::int64_t size : sizes_) out.emplace_back(static_cast<std::size_t>(size));
    const auto in = [&](std::size_t k) { return const_cast<float*>(given_[k].data()); };
    const auto to = [&](std::size_t k) { return out[k].data(); };
    void* const forward[] = {in(0), in(1), in(2), in(3), in(4), in(5), nullptr,
                             to(0), to(1), to(2), to(3), to(4), nullptr};
    check(lstm_forward(&layer_, threads, forward) == LSTM_OK, "forward");
    void* const backward[] = {in(1), in(3), in(4), in(5), nullptr, to(0), to(3),  to(4), in(6),
                              in(4), in(5), to(5), to(6), to(7),   to(8), to(9), to(10)};
    check(lstm_backward(&layer_, threads, backward) == LSTM_OK, "backward");
    void* const gradient[] = {in(0), to(5), nullptr, to(11)};
    check(lstm_input_gradient(&layer_, threads, gradient) == LSTM_OK, "input gradient");
    return out;
  }

 private:
  LstmLayer layer_;
  std::vector<Floats> given_;
  std::vector<std::int64_t> sizes_;
};

// A pool of the caller: a thread for each piece of work.
struct Callers {
  std::mutex mutex;
  std::vector<std::thread> started;

  ~Callers() {
    for (std::thread& each : started) each.join();
  }
  static void schedule(void* pool, void (*work)(void*), void* argument) {
    auto* const callers = static_cast<Callers*>(pool);
    const std::lock_guard<std::mutex> lock(callers->mutex);
    callers->started.emplace_back(work, argument);
  }
};

void call_often(const Step& step, const std::vector<Floats>& expected, int calls, bool own) {
  for (int k = 0; k < calls; ++k) {
    Callers callers;
    const LstmThreads threads{Callers::schedule, &callers, 3};
    check(step.run(own ? nullptr : &threads) == expected, own ? "own threads" : "caller's threads");
    const LstmLayer none{1, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    check(lstm_check(&none) == LSTM_INVALID &&
              std::strstr(lstm_error(), "has nothing to compute") != nullptr,
          "a layer without units");
  }
}

// A layer with only its steps is refused without a mask, and where a sequence starts over.
void check_only_steps() {
  LstmLayer layer{3, 8, 2, 4, 0, 0, 0, 1, 0, 0, 1, 0};
  std::vector<unsigned char> mask(24, LSTM_STEP);
  void* pointers[13] = {};
  check(lstm_forward(&layer, nullptr, pointers) == LSTM_INVALID &&
            std::strstr(lstm_error(), "has no mask") != nullptr,
        "only steps without a mask");
  mask[20] |= LSTM_FROM_ZEROS;
  pointers[6] = mask.data();
  check(lstm_forward(&layer, nullptr, pointers) == LSTM_INVALID &&
            std::strstr(lstm_error(), "cannot start over") != nullptr,
        "only steps that start over");
}

int run(bool forks) {
  check(lstm_version() == LSTM_VERSION, "version");
  check_only_steps();
  // Shared out by sequences, by units, not at all, and as a stream's step by rows of the weights.
  // Never destroyed: threads call to the end.
  constexpr int kSteps = 4;
  static const Step* const steps = new Step[kSteps]{
      {9, 48, 32, 64, 3}, {9, 2, 96, 96, 3}, {15, 5, 1, 4, 3}, {1, 1, 256, 256, 3}};
  static auto* const expected = new std::vector<Floats>[kSteps];
  for (int k = 0; k < kSteps; ++k) expected[k] = steps[k].run(nullptr);
  std::vector<std::thread> threads;
  for (int k = 0; k < 3 * kSteps; ++k) {
    const int which = k % kSteps;
    const bool own = k / kSteps % 2 == 0;
    threads.emplace_back([=] { call_often(steps[which], expected[which], 20, own); });
  }
  for (int k = 0; forks && k < 20; ++k) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);  // it may wait for what no thread of it will give
      call_often(steps[k % kSteps], expected[k % kSteps], 2, k % 3 == 0);
      _exit(wrong == 0 ? 0 : 1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    check(status == 0, "a child of a fork");
  }
  for (std::thread& each : threads) each.join();
  std::printf("calls of many threads: %d wrong\n", wrong.load());
  std::fflush(stdout);
  const int code = wrong == 0 ? 0 : 1;
  for (int k = 0; k < kSteps; ++k) {
    std::thread([k] {
      for (;;) steps[k].run(nullptr);
    }).detach();
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return code;
}

}  // namespace

int main(int count, char** words) { return run(count > 1 && std::string(words[1]) == "fork"); }
