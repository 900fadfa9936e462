/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads on chosen CPUs that use the same lines. */
#include "hw/hw.h"

#include <pthread.h>
#include <stdlib.h>

#include "hw/pass.h"

/* ---- one line, written in turn by two ---- */

struct ball {
	_Alignas(128) uint32_t turn;
	_Alignas(128) uint32_t rounds;
	_Alignas(128) uint32_t ready;
	uint32_t cpu[2];
	int err;
	uint64_t ns;
};

/* Wait for one's turn, and give it to the other; whoever waits reads the line until it changes. */
static void play(struct ball *ball, uint32_t me)
{
	for (uint32_t i = 0; i < ball->rounds; i++) {
		while (__atomic_load_n(&ball->turn, __ATOMIC_ACQUIRE) != me)
			;
		__atomic_store_n(&ball->turn, !me, __ATOMIC_RELEASE);
	}
}

static void meet(struct ball *ball)
{
	__atomic_add_fetch(&ball->ready, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&ball->ready, __ATOMIC_ACQUIRE) < 2)
		;
}

static void *second_player(void *arg)
{
	struct ball *const ball = arg;

	ball->err = fperf_hw_pin(ball->cpu[1]);
	meet(ball);
	if (!ball->err)
		play(ball, 1);
	return NULL;
}

int fperf_hw_transfer(uint32_t cpu, uint32_t other, uint32_t rounds, uint64_t *ns)
{
	struct ball ball = { .rounds = rounds, .cpu = { cpu, other } };
	pthread_t thread;
	uint64_t begin;
	int err;

	if (cpu == other || !rounds)
		return FPERF_ERR(ARGUMENT);
	err = fperf_hw_pin(cpu);
	if (err)
		return err;
	if (pthread_create(&thread, NULL, second_player, &ball))
		return FPERF_ERR(NO_MEMORY);
	meet(&ball);
	begin = fperf_hw_now();
	if (!ball.err)
		play(&ball, 0);
	*ns = fperf_hw_now() - begin;
	pthread_join(thread, NULL);
	return ball.err;
}
