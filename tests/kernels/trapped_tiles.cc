#include "tests/kernels/trapped_tiles.h"

#include <ucontext.h>

#include <cstdint>
#include <cstring>

#include "common/status.h"
#include "tests/kernels/emulated_tiles.h"

namespace r1::kernels {
namespace {

// General registers in the order of their numbers in instructions.
constexpr int kRegisters[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                REG_R12, REG_R13, REG_R14, REG_R15};

// An instruction with a three-byte VEX prefix and its operands (the manual's volume 2, chapter 2).
struct Instruction {
  uint8_t opcode;
  int prefix;  // the one that VEX stands for: 0 none, 1 66, 2 F3, 3 F2
  int mod, reg, rm, vvvv;
  void* address = nullptr;  // of memory, without the index of a stride
  int64_t index = 0;
  int bytes = 5;
};

Instruction Decode(const uint8_t* code, const greg_t* registers) {
  R1_CHECK(code[0] == 0xC4);        // three bytes of prefix
  R1_CHECK((code[1] & 0x1F) == 2);  // opcodes 0F 38
  R1_CHECK((code[2] & 0x84) == 0);  // W 0, 128 bits
  const int high_index = code[1] & 0x40 ? 0 : 8;
  const int high_base = code[1] & 0x20 ? 0 : 8;
  Instruction decoded = {.opcode = code[3],
                         .prefix = code[2] & 3,
                         .mod = code[4] >> 6,
                         .reg = code[4] >> 3 & 7,
                         .rm = code[4] & 7,
                         .vvvv = ~code[2] >> 3 & 15};
  if (decoded.mod == 3) return decoded;
  int base = decoded.rm;
  if (base == 4) {  // base and index follow
    const uint8_t sib = code[decoded.bytes++];
    const int index = (sib >> 3 & 7) + high_index;
    if (index != 4) decoded.index = registers[kRegisters[index]] << (sib >> 6);
    base = sib & 7;
  }
  R1_CHECK(decoded.mod != 0 || base != 5);  // no absolute address, none beside the instruction
  int64_t offset = 0;
  if (decoded.mod == 1) offset = static_cast<int8_t>(code[decoded.bytes++]);
  if (decoded.mod == 2) {
    int32_t offset32;
    std::memcpy(&offset32, code + decoded.bytes, sizeof(offset32));
    decoded.bytes += sizeof(offset32);
    offset = offset32;
  }
  decoded.address = reinterpret_cast<void*>(registers[kRegisters[base + high_base]] + offset);
  return decoded;
}

void Emulate(const Instruction& i) {
  constexpr int kNone = 0, kF3 = 2, kF2 = 3;
  const bool has_memory = i.mod != 3;
  if (i.opcode == 0x49 && i.prefix == kNone && has_memory && i.reg == 0) {  // ldtilecfg
    TileConfig config;
    std::memcpy(&config, static_cast<uint8_t*>(i.address) + i.index, sizeof(config));
    EmulatedTiles::Configure(config);
  } else if (i.opcode == 0x49 && i.prefix == kNone && i.reg == 0 && i.rm == 0) {  // tilerelease
    EmulatedTiles::Release();
  } else if (i.opcode == 0x49 && i.prefix == kF2 && !has_memory && i.rm == 0) {  // tilezero
    EmulatedTiles::ClearTile(i.reg);
  } else if (i.opcode == 0x4B && i.prefix == kF2 && has_memory && i.rm == 4) {  // tileloadd
    EmulatedTiles::LoadTile(i.reg, i.address, i.index);
  } else if (i.opcode == 0x4B && i.prefix == kF3 && has_memory && i.rm == 4) {  // tilestored
    EmulatedTiles::StoreTile(i.reg, i.address, i.index);
  } else if (i.opcode == 0x5C && i.prefix == kF3 && !has_memory) {  // tdpbf16ps
    EmulatedTiles::AddTileProducts(i.reg, i.rm, i.vvvv);
  } else {
    CheckFailed(__FILE__, __LINE__, "an AMX instruction of the kernels");
  }
}

void OnIllegalInstruction(int, siginfo_t*, void* context) {
  greg_t* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const Instruction decoded =
      Decode(reinterpret_cast<const uint8_t*>(registers[REG_RIP]), registers);
  Emulate(decoded);
  registers[REG_RIP] += decoded.bytes;
}

}  // namespace

TrappedTiles::TrappedTiles() {
  struct sigaction action = {};
  action.sa_sigaction = OnIllegalInstruction;
  action.sa_flags = SA_SIGINFO;
  R1_CHECK(sigaction(SIGILL, &action, &before_) == 0);
}

TrappedTiles::~TrappedTiles() { R1_CHECK(sigaction(SIGILL, &before_, nullptr) == 0); }

}  // namespace r1::kernels
