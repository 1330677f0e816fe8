// Run a graph that was traced without this library's op by that op, where the library is loaded.
//
// A layer marks a function of TensorFlow's own ops (lstm_impl/keras/layer.py): the function's
// attribute "api_implements" begins with kMark, and its arguments and results are those of
// LstmImplFusedLstm. TensorFlow does not inline such functions. Grappler calls this optimizer for
// each graph before its first run, and the optimizer puts the op in the place of each such call on
// a CPU of this process. A program without the library runs the function as it is.
#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tensorflow/core/framework/attr_value.pb.h"
#include "tensorflow/core/framework/function.pb.h"
#include "tensorflow/core/framework/graph.pb.h"
#include "tensorflow/core/framework/node_def.pb.h"
#include "tensorflow/core/grappler/grappler_item.h"
#include "tensorflow/core/grappler/optimizers/custom_graph_optimizer.h"
#include "tensorflow/core/grappler/optimizers/custom_graph_optimizer_registry.h"

namespace lstm_impl {
namespace {

using tensorflow::FunctionDef;
using tensorflow::GraphDef;
using tensorflow::NodeDef;
namespace grappler = tensorflow::grappler;

// After it: "r" if reverse, "b" if batch_major, "-" if not, and what makes the text unique.
constexpr absl::string_view kMark = "fused_lstm_impl:1:";
constexpr std::array<const char*, 7> kInputs = {"x",    "h",      "c", "kernel", "recurrent_kernel",
                                                "bias", "padding"};
// TensorFlow's names of the results y, h_last and c_last of a traced function.
constexpr std::array<const char*, 3> kOutputs = {"identity", "identity_1", "identity_2"};

// The options of a marked function, or an empty text.
absl::string_view options_of(const FunctionDef& function) {
  const auto found = function.attr().find("api_implements");
  if (found == function.attr().end()) return "";
  const absl::string_view text = found->second.s();
  if (!absl::StartsWith(text, kMark) || text.size() < kMark.size() + 2) return "";
  return text.substr(kMark.size(), 2);
}

template <class Names>
int place_of(const Names& names, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? -1 : static_cast<int>(found - names.begin());
}

// Another process of a cluster may not have loaded the library.
bool on_this_cpu(const std::string& device) {
  return absl::StartsWith(device, "/job:localhost/replica:0/task:0/device:CPU:");
}

// The node of an input: "name", "name:2" or "^name".
std::string node_of(const std::string& input) {
  const std::size_t start = absl::StartsWith(input, "^") ? 1 : 0;
  return input.substr(start, input.rfind(':') - start);
}

// The op that computes what a call of a marked function computes.
//
// Grappler may have moved constant arguments into the function, where a node has the argument's
// name, and removed results that nothing reads.
struct FusedCall {
  NodeDef op;
  std::vector<NodeDef> constants;
  std::vector<int> outputs;  // of each of the call's results

  // False where the function is not as a layer made it, as those that TensorFlow derives from it
  // for a gradient are not, though they have the same mark.
  bool make(const NodeDef& call, const FunctionDef& function) {
    const auto& signature = function.signature();
    for (const auto& result : signature.output_arg()) {
      outputs.push_back(place_of(kOutputs, result.name()));
      if (outputs.back() < 0) return false;
    }
    std::array<std::string, kInputs.size()> inputs;
    std::array<tensorflow::DataType, kInputs.size()> types;
    std::vector<std::string> controls;
    int number = 0;
    for (const std::string& input : call.input()) {
      if (absl::StartsWith(input, "^")) {
        controls.push_back(input);
        continue;
      }
      if (number == signature.input_arg_size()) return false;
      const auto& argument = signature.input_arg(number++);
      const int place = place_of(kInputs, argument.name());
      if (place < 0) return false;
      inputs[place] = input;
      types[place] = argument.type();
    }
    for (std::size_t place = 0; place < inputs.size(); ++place) {
      if (!inputs[place].empty()) continue;
      const auto& nodes = function.node_def();
      const auto constant = std::find_if(nodes.begin(), nodes.end(), [&](const NodeDef& node) {
        return node.name() == kInputs[place] && node.op() == "Const";
      });
      if (constant == nodes.end()) return false;
      constants.push_back(*constant);
      constants.back().set_name(absl::StrCat(call.name(), "/fused_lstm/", kInputs[place]));
      constants.back().set_device(call.device());
      // After what the call waits for, so that it is in the same iteration of a loop.
      for (const std::string& before : call.input()) {
        constants.back().add_input(absl::StrCat("^", node_of(before)));
      }
      inputs[place] = constants.back().name();
      types[place] = constant->attr().at("dtype").type();
    }
    if (std::any_of(&types[1], &types[6], [&](auto type) { return type != types[0]; })) return false;
    if (types[0] != tensorflow::DT_FLOAT && types[0] != tensorflow::DT_BFLOAT16) return false;
    op.set_name(call.name());
    op.set_op("LstmImplFusedLstm");
    op.set_device(call.device());
    for (const std::string& input : inputs) op.add_input(input);
    for (const std::string& control : controls) op.add_input(control);
    auto& attributes = *op.mutable_attr();
    attributes["T"].set_type(types[0]);
    attributes["W"].set_type(types[0]);
    attributes["P"].set_type(types[6]);
    attributes["row"].set_i(0);
    attributes["reverse"].set_b(options_of(function)[0] == 'r');
    attributes["batch_major"].set_b(options_of(function)[1] == 'b');
    return true;
  }
};

class UseFusedLSTM : public grappler::CustomGraphOptimizer {
 public:
  absl::Status Init(const tensorflow::RewriterConfig_CustomGraphOptimizer*) override {
    return absl::OkStatus();
  }

  std::string name() const override { return "lstm_impl"; }

  bool UsesFunctionLibrary() const override { return true; }

  absl::Status Optimize(grappler::Cluster*, const grappler::GrapplerItem& item,
                        GraphDef* graph) override {
    std::unordered_map<std::string, FusedCall> found = calls(item);
    if (found.empty()) return absl::AbortedError("the graph calls no LSTM layer of this library");
    *graph = item.graph;
    std::vector<NodeDef> constants;
    for (NodeDef& node : *graph->mutable_node()) {
      for (std::string& input : *node.mutable_input()) redirect(found, &input);
      const auto made = found.find(node.name());
      if (made == found.end()) continue;
      for (std::string& input : *made->second.op.mutable_input()) redirect(found, &input);
      node = made->second.op;
      for (const NodeDef& constant : made->second.constants) constants.push_back(constant);
    }
    for (const NodeDef& constant : constants) *graph->add_node() = constant;
    return absl::OkStatus();
  }

 private:
  // The calls that the op can compute, by name.
  static std::unordered_map<std::string, FusedCall> calls(const grappler::GrapplerItem& item) {
    std::unordered_map<std::string, const FunctionDef*> marked;
    for (const FunctionDef& function : item.graph.library().function()) {
      if (!options_of(function).empty()) marked[function.signature().name()] = &function;
    }
    std::unordered_map<std::string, FusedCall> found;
    if (marked.empty() || !item.optimization_options().allow_non_differentiable_rewrites) {
      return found;
    }
    const std::unordered_set<std::string> preserved = item.NodesToPreserve();
    for (const NodeDef& node : item.graph.node()) {
      if (node.op() != "PartitionedCall" && node.op() != "StatefulPartitionedCall") continue;
      const auto function = marked.find(node.attr().at("f").func().name());
      if (function == marked.end() || !on_this_cpu(node.device())) continue;
      if (preserved.count(node.name()) > 0) continue;  // its results are read by name
      FusedCall call;
      if (call.make(node, *function->second)) found.emplace(node.name(), std::move(call));
    }
    return found;
  }

  // Read the op's output in place of the call's result.
  static void redirect(const std::unordered_map<std::string, FusedCall>& found,
                       std::string* input) {
    const std::size_t colon = input->rfind(':');
    const auto made = found.find(input->substr(0, colon));
    if (made == found.end()) return;  // another node, or a control input
    const int result = colon == std::string::npos ? 0 : std::stoi(input->substr(colon + 1));
    *input = absl::StrCat(made->first, ":", made->second.outputs.at(result));
  }
};

// TensorFlow takes one such optimizer for each type of device, and aborts at a second one.
[[maybe_unused]] const bool registered = [] {
  using Registry = grappler::PluginGraphOptimizerRegistry;
  if (!Registry::CreateOptimizers({"CPU"}).empty()) return false;
  grappler::ConfigList unchanged = Registry::GetPluginConfigs(true, {});
  Registry::RegisterPluginOptimizerOrDie([] { return new UseFusedLSTM; }, "CPU", unchanged);
  return true;
}();

}  // namespace
}  // namespace lstm_impl
