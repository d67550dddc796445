// Truncated, bit-flipped, lying and hostile PyTorch checkpoints: each gets an Error, and nothing is executed.
#include <gmock/gmock.h>
#include <zlib.h>

#include "src/core/error.h"
#include "src/io/pth.h"
#include "src/io/zip_writer.h"
#include "tests/io/bytes.h"
#include "tests/support/fixtures.h"

namespace seer {
namespace {

using namespace std::string_literals;
using test::bytes_of;
using test::error_of;
using test::little_endian;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

using Records = std::vector<std::pair<std::string, std::string>>;

std::string zip_text(const Records& records) {
  const test::TempDir folder;
  ZipWriter zip(folder / "zip");
  for (const auto& [name, text] : records) zip.add(name, bytes_of(text));
  zip.commit();
  return test::read_file(folder / "zip");
}

// A checkpoint with this pickle, and one storage "0" of 16 bytes.
std::string checkpoint(const std::string& pickle) {
  return zip_text({{"x/data.pkl", pickle},
                   {"x/byteorder", "little"},
                   {"x/data/0", "0123456789abcdef"},
                   {"x/version", "3\n"}});
}

PthFile parse(const std::string& text) {
  return PthFile::parse(bytes_of(text), "bad.pth");
}

std::string error_of_pickle(const std::string& pickle) {
  const std::string message = error_of([&] { parse(checkpoint(pickle)); });
  EXPECT_THAT(message, HasSubstr("bad.pth"));
  return message;
}

// ---- a little assembler for pickles

std::string text(const std::string& value) {
  return "X" + little_endian(static_cast<uint32_t>(value.size())) + value;
}

std::string number(int64_t value) {
  return "\x8a\x08"s + little_endian(value);
}

std::string tuple(const std::vector<int64_t>& values) {
  std::string out = "(";
  for (const int64_t value : values) out += number(value);
  return out + "t";
}

std::string storage(const std::string& type, const std::string& key, int64_t numel) {
  return "(" + text("storage") + "ctorch\n" + type + "\n" + text(key) + text("cuda:0") + number(numel) + "tQ";
}

std::string tensor(int64_t offset, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides,
                   const std::string& from = storage("ByteStorage", "0", 16)) {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + from + number(offset) + tuple(shape) + tuple(strides) +
         "\x89"
         "ccollections\nOrderedDict\n)RtR";
}

std::string dict_of(const std::string& value) {
  return "\x80\x02}" + text("t") + value + "s.";
}

std::string bytes_of_tensor(const std::string& pickle) {
  const PthFile file = parse(checkpoint(pickle));
  const OwnedTensor& tensor = file.at("t");
  return {reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()};
}

TEST(PthViews, AreGatheredToContiguousBytes) {
  EXPECT_EQ(bytes_of_tensor(dict_of(tensor(0, {16}, {1}))), "0123456789abcdef");
  EXPECT_EQ(bytes_of_tensor(dict_of(tensor(3, {}, {}))), "3");
  EXPECT_EQ(bytes_of_tensor(dict_of(tensor(1, {2, 3}, {1, 4}))), "15926a");
  EXPECT_EQ(bytes_of_tensor(dict_of(tensor(0, {2, 2, 2}, {8, 1, 4}))), "04158c9d");
  EXPECT_EQ(bytes_of_tensor(dict_of(tensor(0, {4, 1, 4}, {4, 77, 1}))), "0123456789abcdef");
  EXPECT_EQ(bytes_of_tensor(dict_of(tensor(2, {3, 2}, {0, 1}))), "232323");
  EXPECT_EQ(bytes_of_tensor(dict_of(tensor(15, {1, 1}, {9, 9}))), "f");
  EXPECT_EQ(bytes_of_tensor(dict_of(tensor(99, {4, 0}, {5, 5}))), "");
  const std::string shorts = storage("ShortStorage", "0", 8);
  EXPECT_EQ(bytes_of_tensor(dict_of(tensor(1, {2, 2}, {1, 4}, shorts))), "23ab45cd");
  const std::string longs = storage("LongStorage", "0", 2);
  EXPECT_EQ(bytes_of_tensor(dict_of(tensor(1, {2}, {0}, longs))), "89abcdef89abcdef");
}

TEST(PthViews, MayShareAStorage) {
  const std::string pickle =
      "\x80\x02}(" + text("a") + tensor(0, {4}, {1}) + text("b") + tensor(2, {4}, {2}) + "u.";
  const PthFile file = parse(checkpoint(pickle));
  EXPECT_EQ(file.at("a").bytes.size(), 4);
  EXPECT_EQ(std::memcmp(file.at("b").bytes.data(), "2468", 4), 0);
}

TEST(PthViews, MustLieInsideTheirStorage) {
  EXPECT_THAT(error_of_pickle(dict_of(tensor(1, {16}, {1}))),
              AllOf(HasSubstr("tensor 't'"), HasSubstr("reach beyond its storage of 16")));
  EXPECT_THAT(error_of_pickle(dict_of(tensor(16, {}, {}))), HasSubstr("reach beyond"));
  EXPECT_THAT(error_of_pickle(dict_of(tensor(0, {2, 2}, {15, 1}))), HasSubstr("reach beyond"));
  EXPECT_THAT(error_of_pickle(dict_of(tensor(0, {3}, {int64_t{1} << 62}))), HasSubstr("reach beyond"));
  EXPECT_THAT(error_of_pickle(dict_of(tensor(INT64_MAX, {2}, {1}))), HasSubstr("reach beyond"));
  EXPECT_THAT(error_of_pickle(dict_of(tensor(0, {int64_t{1} << 40, int64_t{1} << 40}, {0, 0}))),
              HasSubstr("overflows"));
  EXPECT_THAT(error_of_pickle(dict_of(tensor(-1, {2}, {1}))), HasSubstr("wrong arguments"));
  EXPECT_THAT(error_of_pickle(dict_of(tensor(0, {-2}, {1}))), HasSubstr("integers >= 0"));
  EXPECT_THAT(error_of_pickle(dict_of(tensor(4, {2}, {-1}))), HasSubstr("integers >= 0"));
  EXPECT_THAT(error_of_pickle(dict_of(tensor(0, {2, 2}, {1}))), HasSubstr("2 extents and 1 strides"));
}

TEST(PthViews, CannotAskForMoreMemoryThanTheFileIsWorth) {
  EXPECT_THAT(error_of_pickle(dict_of(tensor(0, {int64_t{1} << 40}, {0}))), HasSubstr("unfold to more than"));
  // One tensor shared by many keys counts each time.
  std::string pickle = "\x80\x02}(" + text("0") + tensor(0, {1 << 20}, {0}) + "q\x01";
  for (int i = 1; i < 200; ++i) pickle += text(std::to_string(i)) + "h\x01";
  EXPECT_THAT(error_of_pickle(pickle + "u."), HasSubstr("unfold to more than"));
}

TEST(PthStorages, MustBeWhatThePickleSays) {
  const auto from = [](const std::string& type, const std::string& key, int64_t numel) {
    return error_of_pickle(dict_of(tensor(0, {1}, {1}, storage(type, key, numel))));
  };
  EXPECT_THAT(from("ByteStorage", "0", 15), HasSubstr("'x/data/0' has 16 bytes; expected 15"));
  EXPECT_THAT(from("FloatStorage", "0", 16), HasSubstr("expected 64"));
  EXPECT_THAT(from("DoubleStorage", "0", INT64_MAX), HasSubstr("too large"));
  EXPECT_THAT(from("ByteStorage", "1", 16), HasSubstr("'x/data/1' is missing"));
  EXPECT_THAT(from("ByteStorage", "../version", 2), HasSubstr("'x/data/../version' is missing"));
  EXPECT_THAT(from("ByteStorage", "0", -1), HasSubstr("wrong class, key or number"));
  EXPECT_THAT(from("ComplexFloatStorage", "0", 2), HasSubstr("'torch.ComplexFloatStorage'"));
}

TEST(PthStorages, TwoTensorsMustAgreeOnAStorage) {
  const std::string pickle = "\x80\x02}(" + text("a") + tensor(0, {1}, {1}) + text("b") +
                             tensor(0, {1}, {1}, storage("FloatStorage", "0", 16)) + "u.";
  EXPECT_THAT(error_of_pickle(pickle), AllOf(HasSubstr("tensor 'b'"), HasSubstr("expected 64")));
}

// ---- hostile pickles

TEST(PthPickle, OtherGlobalsAreRefusedByName) {
  const std::string run = text("echo owned") + "\x85R.";
  EXPECT_THAT(error_of_pickle("\x80\x02"
                              "cos\nsystem\n" +
                              run),
              HasSubstr("asks for 'os.system'"));
  EXPECT_THAT(error_of_pickle("\x80\x04" + text("builtins") + text("eval") + "\x93" + run),
              HasSubstr("'builtins.eval'"));
  EXPECT_THAT(error_of_pickle(dict_of("cnumpy.core.multiarray\nscalar\n")),
              HasSubstr("'numpy.core.multiarray.scalar'"));
  EXPECT_THAT(error_of_pickle(dict_of("ctorch._utils\n_rebuild_sparse_tensor\n")),
              HasSubstr("_rebuild_sparse_tensor"));
  EXPECT_THAT(error_of_pickle(dict_of("ctorch\nFloatStorage.x\n")), HasSubstr("FloatStorage.x"));
}

TEST(PthPickle, AllowedGlobalsAreOnlyUsedAsMeant) {
  EXPECT_THAT(error_of_pickle(dict_of("ctorch\nFloatStorage\n)R")), HasSubstr("calls torch.FloatStorage"));
  EXPECT_THAT(error_of_pickle(dict_of("ccollections\nOrderedDict\n" + text("x") + "\x85R")),
              HasSubstr("with arguments"));
  EXPECT_THAT(error_of_pickle(dict_of("ctorch._utils\n_rebuild_tensor_v2\n)R")),
              HasSubstr("wrong arguments"));
  EXPECT_THAT(error_of_pickle(dict_of("ctorch._utils\n_rebuild_parameter\n)R")),
              HasSubstr("wrong arguments"));
  EXPECT_THAT(error_of_pickle(dict_of("})R")), HasSubstr("REDUCE needs"));
  EXPECT_THAT(error_of_pickle(dict_of(text("x") + "Q")), HasSubstr("persistent id"));
  EXPECT_THAT(error_of_pickle(dict_of("}}" + text("__class__") + "Nsb")), HasSubstr("BUILD"));
  EXPECT_THAT(error_of_pickle(dict_of("N}" + text("_metadata") + "Nsb")), HasSubstr("BUILD"));
}

TEST(PthPickle, OtherOpcodesAreRefused) {
  for (const char opcode : "iop\x81\x92\x82\x83\x84PSVILFUTld0123\x8e\x8f\x90\x91\x96\x97\x98\xff"s) {
    EXPECT_THAT(error_of_pickle("\x80\x02}"s + opcode), HasSubstr("is not allowed")) << int{opcode};
  }
  EXPECT_THAT(error_of_pickle("\x80\x01}."), HasSubstr("protocol 1"));
}

TEST(PthPickle, BrokenStacks) {
  EXPECT_THAT(error_of_pickle("\x80\x02."), HasSubstr("the stack is empty"));
  EXPECT_THAT(error_of_pickle("\x80\x02}N."), HasSubstr("left on the stack"));
  EXPECT_THAT(error_of_pickle("\x80\x02(}."), HasSubstr("left on the stack"));
  EXPECT_THAT(error_of_pickle("\x80\x02}u."), HasSubstr("no mark"));
  EXPECT_THAT(error_of_pickle("\x80\x02}(Nu."), HasSubstr("a key without a value"));
  EXPECT_THAT(error_of_pickle("\x80\x02}(NNs."), HasSubstr("stack"));
  EXPECT_THAT(error_of_pickle("\x80\x02]NNs."), HasSubstr("no dict"));
  EXPECT_THAT(error_of_pickle("\x80\x02}Na."), HasSubstr("no list"));
  EXPECT_THAT(error_of_pickle("\x80\x02N\x86."), HasSubstr("fewer than 2"));
  EXPECT_THAT(error_of_pickle("\x80\x02h\x05."), HasSubstr("memo slot 5 is empty"));
  EXPECT_THAT(error_of_pickle("\x80\x02q\x05."), HasSubstr("the stack is empty"));
  EXPECT_THAT(error_of_pickle("\x80\x02}"), HasSubstr("truncated"));
  EXPECT_THAT(error_of_pickle(""), HasSubstr("truncated"));
  EXPECT_THAT(error_of_pickle("\x80\x02X\xff\xff\xff\xff."), HasSubstr("truncated"));
  EXPECT_THAT(error_of_pickle("\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), HasSubstr("truncated"));
  EXPECT_THAT(error_of_pickle("\x80\x02"
                              "cos"),
              HasSubstr("no end of line"));
}

TEST(PthPickle, RootMustBeADict) {
  EXPECT_THAT(error_of_pickle("\x80\x02" + tensor(0, {1}, {1}) + "."), HasSubstr("no dict"));
  EXPECT_THAT(error_of_pickle("\x80\x02]."), HasSubstr("no dict"));
  EXPECT_THAT(error_of_pickle("\x80\x02}N" + tensor(0, {1}, {1}) + "s."),
              HasSubstr("neither a string nor an integer"));
  EXPECT_TRUE(parse(checkpoint("\x80\x02}.")).tensors().empty());
}

TEST(PthPickle, TwoTensorsOfOneName) {
  EXPECT_THAT(error_of_pickle("\x80\x02}(" + text("a.b") + tensor(0, {1}, {1}) + text("a") + "}" + text("b") +
                              tensor(0, {1}, {1}) + "su."),
              HasSubstr("two tensors are called 'a.b'"));
}

TEST(PthPickle, CyclesAndDeepNestingEnd) {
  EXPECT_THAT(error_of_pickle("\x80\x02}q\x01" + text("self") + "h\x01s."), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of_pickle("\x80\x02}" + text("l") +
                              "]q\x01(h\x01h\x01h\x01"
                              "es."),
              HasSubstr("nested deeper"));
  std::string deep = "\x80\x02}" + text("d") + "N";
  for (int i = 0; i < 100'000; ++i) deep += "\x85";
  EXPECT_THAT(error_of_pickle(deep + "s."), HasSubstr("nested deeper"));
}

TEST(PthPickle, SharedContainersCannotUnfoldWithoutEnd) {
  // Thirty tuples, each of twice the one before: 2^30 leaves in 150 bytes.
  std::string bomb = "\x80\x02}" + text("bomb") + "N";
  for (int i = 0; i < 30; ++i) bomb += "q\x01h\x01\x86";
  EXPECT_THAT(error_of_pickle(bomb + "s."), HasSubstr("unfolds to more than"));
  std::string empty = "\x80\x02}" + text("bomb") + "]";
  for (int i = 0; i < 30; ++i) empty += "q\x01h\x01\x86";
  EXPECT_THAT(error_of_pickle(empty + "s."), HasSubstr("unfolds to more than"));
}

TEST(PthPickle, LongNamesEnd) {
  const std::string name(3000, 'n');
  EXPECT_THAT(error_of_pickle("\x80\x02}" + text(name) + "}" + text(name) + "Nss."),
              HasSubstr("longer than 4096"));
}

TEST(PthPickle, ManyValuesEnd) {
  std::string many = "\x80\x02}" + text("l") + "](";
  for (int i = 0; i < (1 << 21); ++i) many += "}";
  EXPECT_THAT(error_of_pickle(many + "es."), HasSubstr("more than 2097152 values"));
}

TEST(PthPickle, OtherLeavesAreSkipped) {
  const std::string pickle = "\x80\x04\x95" + std::string(8, '\0') + "}\x94(" + text("int") +
                             "J\xff\xff\xff\xff" + text("big") + "\x8a\x09" + std::string(9, '\1') +
                             text("float") + "G" + std::string(8, '\0') + text("none") + "N" + text("bytes") +
                             "C\x01x" + text("list") + "](\x88\x8c\x01ye" + "K\x07M\x01\x02u.";
  const PthFile file = parse(checkpoint(pickle));
  EXPECT_TRUE(file.tensors().empty());
  EXPECT_THAT(file.skipped(), ElementsAre("int", "big", "float", "none", "bytes", "list.0", "list.1", "7"));
}

// ---- the archive

TEST(PthArchive, RecordsThatMustBeThere) {
  const Records good = {{"x/data.pkl", dict_of(tensor(0, {16}, {1}))},
                        {"x/byteorder", "little"},
                        {"x/data/0", "0123456789abcdef"},
                        {"x/version", "3\n"}};
  const auto with = [&](size_t changed, const std::pair<std::string, std::string>& record) {
    Records records = good;
    records[changed] = record;
    return error_of([&] { parse(zip_text(records)); });
  };
  EXPECT_NO_THROW(parse(zip_text(good)));
  EXPECT_THAT(with(1, {"x/byteorder", "big"}), HasSubstr("byteorder is 'big'"));
  EXPECT_THAT(with(3, {"x/version", "0"}), HasSubstr("record version says '0'"));
  EXPECT_THAT(with(3, {"x/version", "11\n"}), HasSubstr("expected 1 to 10"));
  EXPECT_THAT(with(3, {"x/versions", "3"}), HasSubstr("'x/version' is missing"));
  EXPECT_THAT(with(0, {"data.pkl", "}."}), HasSubstr("no <name>/data.pkl"));
  EXPECT_THAT(with(3, {"y/data.pkl", "}."}), HasSubstr("two records are a data.pkl"));
  EXPECT_THAT(with(1, {"x/constants.pkl", ""}), HasSubstr("TorchScript"));
  Records old = good;
  old.erase(old.begin() + 1);
  EXPECT_NO_THROW(parse(zip_text(old))) << "files before PyTorch 2.1 have no byteorder";
}

TEST(PthArchive, CompressedRecordsAreRefused) {
  std::string file = checkpoint(dict_of(tensor(0, {16}, {1})));
  const size_t local = file.find("PK\x03\x04"), central = file.find("PK\x01\x02");
  file[local + 8] = file[central + 10] = 8;  // deflate
  EXPECT_THAT(error_of([&] { parse(file); }),
              AllOf(HasSubstr("data.pkl"), HasSubstr("compressed or encrypted")));
}

TEST(PthArchive, DamagedPayloadsFailTheirChecksum) {
  std::string file = checkpoint(dict_of(tensor(0, {16}, {1})));
  file[file.find("0123456789abcdef") + 5] ^= 1;
  EXPECT_THAT(error_of([&] { parse(file); }), AllOf(HasSubstr("'x/data/0' is damaged"), HasSubstr("CRC")));
}

TEST(PthArchive, EveryTruncationIsRefused) {
  const std::string file = checkpoint(dict_of(tensor(0, {16}, {1})));
  for (size_t length = 0; length < file.size(); ++length) {
    // A copy of its own size, so that AddressSanitizer sees a read past the end.
    const std::vector<char> cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_THROW(parse({cut.data(), cut.size()}), Error) << length;
  }
}

TEST(PthArchive, EveryBitFlipIsRefusedOrHarmless) {
  const std::string file = checkpoint(dict_of(tensor(1, {3}, {4})));
  int refused = 0;
  for (size_t bit = 0; bit < 8 * file.size(); ++bit) {
    std::string flipped = file;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    try {
      // Payloads carry a checksum: what still parses has changed in padding, times or attributes.
      const PthFile read = parse(flipped);
      ASSERT_EQ(read.tensors().size(), 1) << "bit " << bit;
      EXPECT_EQ(std::memcmp(read.tensors()[0].bytes.data(), "159", 3), 0) << "bit " << bit;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr("bad.pth"));
      ++refused;
    }
  }
  EXPECT_GT(refused, 3000);
}

// The same checkpoint with another pickle of the same length, and its checksum in both zip headers.
std::string replace_pickle(std::string file, const std::string& old_pickle, const std::string& new_pickle) {
  const auto crc = static_cast<uint32_t>(
      ::crc32(0, reinterpret_cast<const Bytef*>(new_pickle.data()), static_cast<uInt>(new_pickle.size())));
  file.replace(file.find(old_pickle), new_pickle.size(), new_pickle);
  file.replace(file.find("PK\x03\x04") + 14, sizeof(crc), little_endian(crc));
  file.replace(file.find("PK\x01\x02") + 16, sizeof(crc), little_endian(crc));
  return file;
}

TEST(PthPickle, EveryBitFlipOfThePickleIsRefusedOrHarmless) {
  const std::string pickle = dict_of(tensor(1, {3}, {4}));
  const std::string file = checkpoint(pickle);
  int read_anyway = 0;
  for (size_t bit = 0; bit < 8 * pickle.size(); ++bit) {
    std::string flipped = pickle;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    try {
      const PthFile read = parse(replace_pickle(file, pickle, flipped));
      ++read_anyway;
      for (const OwnedTensor& tensor : read.tensors()) {
        EXPECT_EQ(tensor.bytes.size(), static_cast<size_t>(tensor.view().numel()) * size_of(tensor.dtype));
      }
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), AllOf(HasSubstr("bad.pth"), Not(HasSubstr("CRC"))));
    }
  }
  EXPECT_GT(read_anyway, 0);
}

}  // namespace
}  // namespace seer
