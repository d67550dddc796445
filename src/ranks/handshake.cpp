#include "src/ranks/handshake.h"

#include "src/core/error.h"
#include "src/ranks/proof.h"

namespace seer {
namespace {

constexpr std::string_view kMagic = "SEER";

}  // namespace

std::string Challenge::encode() const {
  return FieldWriter().text(kMagic).number(version).text(nonce).take();
}

Challenge Challenge::decode(std::string_view body) {
  FieldReader reader(body);
  if (reader.text() != kMagic) fail("it does not speak this protocol");
  Challenge challenge;
  challenge.version = static_cast<uint32_t>(reader.number());
  challenge.nonce = reader.text();
  return challenge;  // a later version may say more
}

std::string Introduction::signed_part(const Challenge& challenge) const {
  return FieldWriter()
      .text("a rank knows the secret")
      .number(version)
      .number(member.rank)
      .number(size)
      .text(member.host)
      .number(member.pid)
      .text(challenge.nonce)
      .text(nonce)
      .take();
}

void Introduction::sign(std::string_view secret, const Challenge& challenge) {
  nonce = make_nonce();
  proof = prove(secret, signed_part(challenge));
}

bool Introduction::signed_by(std::string_view secret, const Challenge& challenge) const {
  return proves(proof, secret, signed_part(challenge));
}

std::string Introduction::encode() const {
  return FieldWriter()
      .number(version)
      .number(member.rank)
      .number(size)
      .text(member.host)
      .number(member.pid)
      .text(nonce)
      .text(proof)
      .take();
}

Introduction Introduction::decode(std::string_view body) {
  FieldReader reader(body);
  Introduction introduction;
  introduction.version = static_cast<uint32_t>(reader.number());
  introduction.member.rank = reader.small_number();
  introduction.size = reader.small_number();
  introduction.member.host = reader.text();
  introduction.member.pid = reader.small_number();
  introduction.nonce = reader.text();
  introduction.proof = reader.text();
  reader.end();
  return introduction;
}

std::string Verdict::signed_part(const Challenge& challenge, const Introduction& introduction) const {
  return FieldWriter()
      .text("rank 0 knows the secret")
      .number(accepted ? 1 : 0)
      .text(why)
      .text(challenge.nonce)
      .text(introduction.nonce)
      .take();
}

void Verdict::sign(std::string_view secret, const Challenge& challenge, const Introduction& introduction) {
  proof = prove(secret, signed_part(challenge, introduction));
}

bool Verdict::signed_by(std::string_view secret, const Challenge& challenge,
                        const Introduction& introduction) const {
  return proves(proof, secret, signed_part(challenge, introduction));
}

std::string Verdict::encode() const {
  return FieldWriter().number(accepted ? 1 : 0).text(why).text(proof).take();
}

Verdict Verdict::decode(std::string_view body) {
  FieldReader reader(body);
  Verdict verdict;
  verdict.accepted = reader.number() == 1;
  verdict.why = reader.text();
  verdict.proof = reader.text();
  reader.end();
  return verdict;
}

std::string encode_members(const std::vector<Member>& members) {
  FieldWriter writer;
  writer.number(members.size());
  for (const Member& member : members) writer.text(member.host).number(member.pid);
  return writer.take();
}

std::vector<Member> decode_members(std::string_view body) {
  FieldReader reader(body);
  std::vector<Member> members;
  const int count = reader.small_number();
  for (int rank = 0; rank < count; ++rank) {
    std::string host = reader.text();
    members.push_back({rank, std::move(host), reader.small_number()});
  }
  reader.end();
  return members;
}

}  // namespace seer
