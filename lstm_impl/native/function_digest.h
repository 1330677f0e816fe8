// A digest of what a TensorFlow function computes.
//
// Two functions have the same digest if they apply the same ops, with the same attributes and the
// same constants, along the same edges. TensorFlow renames functions and nodes, and reorders them,
// when it saves, loads, inlines and specializes a graph. Therefore the digest contains no names
// except those of ops, of attributes, and of the function's own arguments and results. It is a
// Merkle tree: the digest of a node is the SHA-256 of its op, its attributes and the digests of its
// inputs.
#ifndef LSTM_IMPL_NATIVE_FUNCTION_DIGEST_H_
#define LSTM_IMPL_NATIVE_FUNCTION_DIGEST_H_

#include <map>
#include <set>
#include <string>

#include "tensorflow/core/framework/function.pb.h"

namespace lstm_impl {

// Returns the digest of each result of a function, by the name of the result: 64 hexadecimal
// digits.
//
// An argument is described by its name. If a constant node has the name of one of `arguments`, it
// counts as this argument, because TensorFlow's optimizer moves constant arguments into a function
// in this way.
//
// Throws std::invalid_argument with the reason if the function cannot be described: it is not
// well-formed, or it contains something that the layers of this library never contain, such as a
// stateful op that no result depends on.
std::map<std::string, std::string> result_digests(const tensorflow::FunctionDef& function,
                                                  const tensorflow::FunctionDefLibrary& library,
                                                  const std::set<std::string>& arguments);

// Returns the SHA-256 (FIPS 180-4) of some bytes: 64 hexadecimal digits.
std::string sha256(const std::string& bytes);

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_FUNCTION_DIGEST_H_
