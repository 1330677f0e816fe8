// A digest of what a function of TensorFlow computes.
//
// Two functions have the same digest if they apply the same ops, with the same attributes and the
// same constants, along the same edges. TensorFlow renames functions and nodes, and reorders them,
// when it saves, loads, inlines and specializes a graph. The digest therefore holds no name but those
// of ops, attributes, and the function's own arguments and results. It is a Merkle tree: the digest
// of a node is the SHA-256 of its op, its attributes and the digests of its inputs.
#ifndef LSTM_IMPL_NATIVE_FUNCTION_DIGEST_H_
#define LSTM_IMPL_NATIVE_FUNCTION_DIGEST_H_

#include <map>
#include <set>
#include <string>

#include "tensorflow/core/framework/function.pb.h"

namespace lstm_impl {

// The digest of each result of a function, by the result's name: 64 hexadecimal digits.
//
// An argument is described by its name. A constant node that has the name of one of `arguments`
// counts as this argument: TensorFlow's optimizer moves constant arguments into a function so.
//
// Throws std::invalid_argument with the reason where the function cannot be described: it is not
// well-formed, or it has something that the layers of this library never have, such as a stateful op
// that no result depends on.
std::map<std::string, std::string> result_digests(const tensorflow::FunctionDef& function,
                                                  const tensorflow::FunctionDefLibrary& library,
                                                  const std::set<std::string>& arguments);

// The SHA-256 (FIPS 180-4) of some bytes: 64 hexadecimal digits.
std::string sha256(const std::string& bytes);

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_FUNCTION_DIGEST_H_
