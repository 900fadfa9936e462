/* SPDX-License-Identifier: BSD-3-Clause */
#include "live/kernel_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/bpf.h>

#define VALUE_BYTES 4096

struct fperf_kernel_memory {
	int map, program;
	uint8_t *value; /* the map's one value, which the program fills */
};

static int bpf(enum bpf_cmd command, union bpf_attr *attributes)
{
	const long result = syscall(SYS_bpf, command, attributes, sizeof(*attributes));

	return result < 0 ? -errno : (int)result;
}

#define INSN(code_, dst, src, off_, imm_) \
	((struct bpf_insn){ .code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (off_), .imm = (imm_) })

/* The context holds an address and a length; address 0 asks for the current task. Register 9 is the value. */
static int load_program(int map)
{
	const struct bpf_insn program[] = {
		INSN(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_7, BPF_REG_1, 0, 0),
		INSN(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_8, BPF_REG_1, 8, 0),
		INSN(BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -4),
		INSN(BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 11, 0), /* no value: fail */
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_9, BPF_REG_0, 0, 0),
		INSN(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_7, 0, 4, 0), /* an address: read */
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_current_task),
		INSN(BPF_STX | BPF_MEM | BPF_DW, BPF_REG_9, BPF_REG_0, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_JGT | BPF_K, BPF_REG_8, 0, 4, VALUE_BYTES), /* too long: fail */
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_9, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_8, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_7, 0, 0),
		INSN(BPF_JMP | BPF_JA, 0, 0, 2, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, -EFAULT), /* fail */
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_probe_read_kernel),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attributes;

	memset(&attributes, 0, sizeof(attributes));
	attributes.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT;
	attributes.insns = (uintptr_t)program;
	attributes.insn_cnt = sizeof(program) / sizeof(*program);
	attributes.license = (uintptr_t)"Dual BSD/GPL";
	return bpf(BPF_PROG_LOAD, &attributes);
}

int fperf_kernel_memory_create(struct fperf_kernel_memory **ret)
{
	struct fperf_kernel_memory *const memory = malloc(sizeof(*memory));
	union bpf_attr attributes;
	void *value;
	int err = 0;

	if (!memory)
		return -ENOMEM;
	*memory = (struct fperf_kernel_memory){ .map = -1, .program = -1 };
	memset(&attributes, 0, sizeof(attributes));
	attributes.map_type = BPF_MAP_TYPE_ARRAY;
	attributes.key_size = sizeof(uint32_t);
	attributes.value_size = VALUE_BYTES;
	attributes.max_entries = 1;
	attributes.map_flags = BPF_F_MMAPABLE;
	memory->map = err = bpf(BPF_MAP_CREATE, &attributes);
	if (err < 0)
		goto fail;
	value = mmap(NULL, VALUE_BYTES, PROT_READ, MAP_SHARED, memory->map, 0);
	if (value == MAP_FAILED) {
		err = -errno;
		goto fail;
	}
	memory->value = value;
	memory->program = err = load_program(memory->map);
	if (err < 0)
		goto fail;
	*ret = memory;
	return 0;
fail:
	fperf_kernel_memory_destroy(memory);
	return err;
}

void fperf_kernel_memory_destroy(struct fperf_kernel_memory *memory)
{
	if (!memory)
		return;
	if (memory->value)
		munmap(memory->value, VALUE_BYTES);
	if (memory->program >= 0)
		close(memory->program);
	if (memory->map >= 0)
		close(memory->map);
	free(memory);
}

static int run(struct fperf_kernel_memory *memory, uint64_t address, uint64_t bytes)
{
	const uint64_t context[2] = { address, bytes };
	union bpf_attr attributes;
	int err;

	memset(&attributes, 0, sizeof(attributes));
	attributes.test.prog_fd = (uint32_t)memory->program;
	attributes.test.ctx_in = (uintptr_t)context;
	attributes.test.ctx_size_in = sizeof(context);
	err = bpf(BPF_PROG_TEST_RUN, &attributes);
	return err < 0 ? err : (int)attributes.test.retval;
}

int fperf_kernel_memory_task(struct fperf_kernel_memory *memory, uint64_t *address)
{
	const int err = run(memory, 0, 0);

	if (!err)
		memcpy(address, memory->value, sizeof(*address));
	return err;
}

int fperf_kernel_memory_read(struct fperf_kernel_memory *memory, uint64_t address, void *to, size_t bytes)
{
	uint8_t *out = to;

	if (!address)
		return -EFAULT;
	for (size_t done = 0, part; done < bytes; done += part) {
		int err;

		part = bytes - done < VALUE_BYTES ? bytes - done : VALUE_BYTES;
		err = run(memory, address + done, part);
		if (err)
			return err;
		memcpy(out + done, memory->value, part);
	}
	return 0;
}

int fperf_kernel_memory_gather(struct fperf_kernel_memory *memory, uint64_t base, size_t bytes, const uint64_t *index,
			       size_t nr, uint8_t *to)
{
	const uint64_t per_value = VALUE_BYTES / bytes;
	size_t done = 0;

	while (done < nr) {
		const uint64_t first = index[done];
		size_t end = done + 1;
		int err;

		while (end < nr && index[end] - first < per_value)
			end++;
		err = run(memory, base + first * bytes, (index[end - 1] - first + 1) * bytes);
		if (err)
			return err;
		for (; done < end; done++)
			memcpy(to + done * bytes, memory->value + (index[done] - first) * bytes, bytes);
	}
	return 0;
}
