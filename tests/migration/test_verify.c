/* SPDX-License-Identifier: BSD-3-Clause */
/* --verify finds what went wrong on the way, wherever it is, and the guest stays where it is sound.
 */
#include "tests/migration/move.h"

#include <unistd.h>

/* A byte that is wrong at the destination when the digests come. */
struct damage {
	unsigned region;
	uint64_t at; /* bytes */
	bool done;
};

static int do_damage(struct mv *m, enum mv_step s)
{
	struct damage *d = m->cfg.hook_arg;
	uint8_t byte;

	if (s != MV_DST_DEVICE)
		return RF_OK;
	d->done = pread(m->regions[d->region].there.memfd, &byte, 1, (off_t)d->at) == 1;
	byte ^= 0x10;
	d->done &= pwrite(m->regions[d->region].there.memfd, &byte, 1, (off_t)d->at) == 1;
	return RF_OK;
}

static struct mv_cfg damaged(struct damage *d, enum mv_content content)
{
	return (struct mv_cfg){
		.name = "damage",
		.regions = 3,
		.len = 5 * MIB + PAGE, /* the last block is short */
		.content = content,
		.verify = true,
		.hook = do_damage,
		.hook_arg = d,
	};
}

static void assert_found(struct damage *d, enum mv_content content)
{
	struct mv_cfg cfg = damaged(d, content);
	uint64_t block = d->at / (2 * MIB) * (2 * MIB);
	struct mv_log log;
	char words[100];
	struct mv m;

	mv_open(&m, &cfg);
	mv_log_start();
	mv_run(&m);
	mv_log_stop(&log);
	assert_true(d->done);
	mv_assert_stayed(&m, RF_ERR_VERIFY, RF_ERR_VERIFY);
	assert_int_equal(m.src.resumes, 1);
	assert_int_equal(m.src.saves, 0);
	assert_int_equal(m.dst.loads, 0);
	assert_int_equal(m.src.stats.verified, 0);
	assert_int_equal(m.dst.stats.verified, 0);
	assert_int_equal(log.src, 1);
	assert_int_equal(log.dst, 1);
	snprintf(words, sizeof(words), "region ram%u, bytes %lu to %lu", d->region, block,
		 block + 2 * MIB - 1);
	if (!strstr(m.src.stats.error_desc, words))
		fail_msg("\"%s\" is not in \"%s\"", words, m.src.stats.error_desc);
	mv_close(&m);
}

static void any_byte_counts(void **state)
{
	static const uint64_t at[] = {0,       1,	PAGE - 1,	   2 * MIB - 1,
				      2 * MIB, 5 * MIB, 5 * MIB + PAGE - 1};

	for (unsigned region = 0; region < 3; region += 2) {
		for (size_t i = 0; i < COUNT_OF(at); i++) {
			struct damage d = {.region = region, .at = at[i]};

			assert_found(&d, MV_DATA);
		}
	}
}

static void holes_count(void **state)
{
	struct damage d = {.region = 1, .at = 3 * MIB};

	assert_found(&d, MV_EMPTY);
	assert_found(&d, MV_SPARSE);
	assert_found(&d, MV_ZEROS);
}

/* Without digests nobody looks: this is what the others would look like if nothing was compared. */
static void unasked_it_is_not_found(void **state)
{
	struct damage d = {.region = 1, .at = 3 * MIB};
	struct mv_cfg cfg = damaged(&d, MV_DATA);
	struct mv m;

	cfg.verify = false;
	mv_open(&m, &cfg);
	mv_start(&m);
	mv_join(&m);
	assert_int_equal(m.src.rc, RF_OK);
	assert_int_equal(m.dst.rc, RF_OK);
	assert_true(m.differs);
	mv_close(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_byte_counts),
		cmocka_unit_test(holes_count),
		cmocka_unit_test(unasked_it_is_not_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
