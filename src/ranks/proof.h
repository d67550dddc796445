// Knowing the start's secret is shown, never told: a keyed hash (HMAC-SHA256) over numbers that both sides drew.
#pragma once

#include <string>
#include <string_view>

namespace seer {

/// 32 random bytes.
std::string make_nonce();

/// A random secret as 64 hexadecimal digits.
std::string make_secret();

/// HMAC-SHA256 of `message` under `secret`, 32 bytes.
std::string prove(std::string_view secret, std::string_view message);

/// Whether `proof` is prove(secret, message); takes the same time wherever they differ.
bool proves(std::string_view proof, std::string_view secret, std::string_view message);

}  // namespace seer
