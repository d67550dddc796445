#include "src/ranks/proof.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "src/core/error.h"

namespace seer {
namespace {

constexpr size_t kBytes = 32;

}  // namespace

std::string make_nonce() {
  std::string nonce(kBytes, '\0');
  const int drawn =
      ::RAND_bytes(reinterpret_cast<unsigned char*>(nonce.data()), static_cast<int>(nonce.size()));
  if (drawn != 1) fail("cannot draw random numbers for the ranks' secret (libcrypto's RAND_bytes)");
  return nonce;
}

std::string make_secret() {
  std::string text;
  for (const char byte : make_nonce()) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

std::string prove(std::string_view secret, std::string_view message) {
  std::string proof(kBytes, '\0');
  unsigned int length = 0;
  const auto* done = ::HMAC(::EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
                            reinterpret_cast<const unsigned char*>(message.data()), message.size(),
                            reinterpret_cast<unsigned char*>(proof.data()), &length);
  if (done == nullptr || length != kBytes) fail("cannot compute an HMAC-SHA256 (libcrypto's HMAC)");
  return proof;
}

bool proves(std::string_view proof, std::string_view secret, std::string_view message) {
  const std::string expected = prove(secret, message);
  return proof.size() == expected.size() && ::CRYPTO_memcmp(proof.data(), expected.data(), proof.size()) == 0;
}

}  // namespace seer
