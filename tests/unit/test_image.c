/* SPDX-License-Identifier: BSD-3-Clause */
/* The snapshot file: what is written is read again; what is damaged is refused by name. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ramferry/log.h>

#include "common/fault.h"
#include "common/image_reader.h"
#include "common/image_writer.h"

#define PAGES_A 1300u /* two blocks and a half */
#define PAGES_B 512u  /* one huge page */

static char dir[] = "/tmp/rf-test-image-XXXXXX";
static char path[64];
static uint8_t *page_mem; /* a page, aligned */
static const char state_text[] = "device state";

static bool holds_data(unsigned region, uint64_t page)
{
	return region ? page == 7 : page % 3 == 0 && page / RF_IMAGE_BLOCK_PAGES != 1;
}

static void make_page(unsigned region, uint64_t page, uint8_t *out)
{
	uint64_t seed = region * 1000003 + page + 1;

	for (unsigned i = 0; i < RF_PAGE_SIZE; i += 8) {
		uint64_t v = holds_data(region, page) ? next_random(&seed) : 0;

		memcpy(out + i, &v, sizeof(v));
	}
}

static void wait_for(struct rf_image_writer *w)
{
	struct rf_image_io *io = rf_image_writer_io(w);
	void *tokens[8];

	assert_int_equal(rf_image_io_submit(io), RF_OK);
	while (rf_image_io_inflight(io))
		assert_true(rf_image_io_poll(io, tokens, 8) >= 0);
}

static void put_page(struct rf_image_writer *w, unsigned region, uint64_t page)
{
	if (!holds_data(region, page)) {
		rf_image_writer_absent(w, region, page, 1);
		return;
	}
	make_page(region, page, page_mem);
	rf_image_writer_page(w, region, page, page_mem);
	assert_int_equal(rf_image_writer_write(w, region, page, page_mem, RF_PAGE_SIZE, w), RF_OK);
	wait_for(w);
}

static void open_writer(struct rf_image_writer **w)
{
	static const struct rf_region regions[] = {
		{.size = sizeof(struct rf_region),
		 .id = "a",
		 .len = PAGES_A * RF_PAGE_SIZE,
		 .page_size = RF_PAGE_SIZE,
		 .memfd = -1},
		{.size = sizeof(struct rf_region),
		 .id = "b",
		 .len = PAGES_B * RF_PAGE_SIZE,
		 .page_size = 2u << 20,
		 .memfd = -1},
	};

	assert_int_equal(rf_image_writer_open(path, w), RF_OK);
	assert_int_equal(rf_image_writer_begin(*w, regions, 2, state_text, sizeof(state_text)),
			 RF_OK);
}

/* Pages from the last to the first, to show that the order is free. */
static void write_image(void)
{
	struct rf_image_writer *w;

	open_writer(&w);
	for (uint64_t i = PAGES_A; i-- > 0;)
		put_page(w, 0, i);
	rf_image_writer_touched(w, 0, 1290);
	rf_image_writer_touched(w, 0, 5);
	rf_image_writer_touched(w, 0, 1291);
	put_page(w, 1, 7); /* of the others nothing is said */
	assert_int_equal(rf_image_writer_finish(w), RF_OK);
	assert_true(rf_image_writer_close(&w));
}

static void check_region(struct rf_image_reader *r, uint32_t region, uint8_t *block)
{
	for (uint64_t b = 0; b < r->img.regions[region].blocks; b++) {
		uint64_t n = rf_image_block_pages(&r->img.regions[region], b);

		assert_int_equal(rf_image_reader_block(r, region, b, block), RF_OK);
		for (uint64_t i = 0; i < n; i++) {
			make_page(region, b * RF_IMAGE_BLOCK_PAGES + i, page_mem);
			assert_memory_equal(block + i * RF_PAGE_SIZE, page_mem, RF_PAGE_SIZE);
		}
	}
}

static void what_is_written_is_read_again(void **state)
{
	uint8_t *block = malloc(RF_IMAGE_BLOCK);
	struct rf_image_reader *r;
	struct stat st;

	write_image();
	assert_int_equal(rf_image_reader_open(path, &r), RF_OK);
	assert_int_equal(r->img.nregions, 2);
	assert_string_equal(r->img.regions[1].id, "b");
	assert_int_equal(r->img.regions[1].page_size, 2u << 20);
	assert_int_equal(r->img.state_len, sizeof(state_text));
	assert_memory_equal(r->state, state_text, sizeof(state_text));
	assert_int_equal(r->img.norder, 2);
	assert_int_equal(r->order[0].block, 2);
	assert_int_equal(r->order[1].block, 0);
	assert_true(rf_image_reader_has(r, 0, 0));
	assert_false(rf_image_reader_has(r, 0, 1));
	check_region(r, 0, block);
	check_region(r, 1, block);
	/* a third of 788 pages, one of the others, tables: the rest are holes */
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_blocks * 512 < 300ll * RF_PAGE_SIZE);
	rf_image_reader_close(&r);
	free(block);
}

static unsigned count_files(void)
{
	char command[128];
	unsigned n = 99;
	FILE *p;

	snprintf(command, sizeof(command), "ls -A %s | wc -l", dir);
	p = popen(command, "r");
	assert_non_null(p);
	assert_int_equal(fscanf(p, "%u", &n), 1);
	pclose(p);
	return n;
}

static void what_is_not_finished_leaves_nothing(void **state)
{
	struct rf_image_writer *w;

	unlink(path);
	open_writer(&w);
	put_page(w, 0, 0);
	assert_true(rf_image_writer_close(&w));
	assert_int_equal(count_files(), 0);
}

/* An older snapshot of that name stays until the new one is complete. */
static void a_file_of_that_name_is_replaced_at_the_end(void **state)
{
	struct rf_image_reader *r;
	struct rf_image_writer *w;

	write_image();
	open_writer(&w);
	put_page(w, 0, 0);
	assert_true(rf_image_writer_close(&w));
	assert_int_equal(rf_image_reader_open(path, &r), RF_OK);
	rf_image_reader_close(&r);
	write_image();
	assert_int_equal(count_files(), 1);
}

static void places_that_cannot_be_written_are_named(void **state)
{
	struct rf_image_writer *w = NULL;

	assert_int_equal(rf_image_writer_open("/nonexistent/x", &w), RF_ERR_NOT_FOUND);
	assert_int_equal(rf_image_writer_open("/dev/null", &w), RF_ERR_INVALID);
	assert_null(w);
}

static void flip(uint64_t offset)
{
	int fd = open(path, O_RDWR);
	uint8_t b;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &b, 1, (off_t)offset), 1);
	b ^= 0x10;
	assert_int_equal(pwrite(fd, &b, 1, (off_t)offset), 1);
	close(fd);
}

static int reopen(void)
{
	struct rf_image_reader *r = NULL;
	int rc = rf_image_reader_open(path, &r);

	if (rc == RF_OK)
		rf_image_reader_close(&r);
	return rc;
}

static void a_damaged_file_is_refused(void **state)
{
	struct rf_image_reader *r;
	struct rf_image img;

	write_image();
	assert_int_equal(rf_image_reader_open(path, &r), RF_OK);
	img = r->img;
	uint64_t bitmap = r->img.regions[0].bitmap_offset, blocks = r->img.regions[1].blocks_offset;
	rf_image_reader_close(&r);

	for (uint64_t at = 0; at < 56; at++) {
		flip(at);
		assert_int_not_equal(reopen(), RF_OK);
		flip(at);
	}
	for (uint64_t at = 0; at < img.tables_len; at += 3) {
		flip(RF_IMAGE_HEADER + at);
		assert_int_equal(reopen(), RF_ERR_PROTOCOL);
		flip(RF_IMAGE_HEADER + at);
	}
	flip(bitmap + 9);
	assert_int_equal(reopen(), RF_ERR_PROTOCOL);
	flip(bitmap + 9);
	flip(blocks);
	assert_int_equal(reopen(), RF_ERR_PROTOCOL);
	flip(blocks);
	assert_int_equal(reopen(), RF_OK);
}

static void a_damaged_page_fails_its_block_alone(void **state)
{
	uint8_t *block = malloc(RF_IMAGE_BLOCK);
	struct rf_image_reader *r;

	write_image();
	assert_int_equal(rf_image_reader_open(path, &r), RF_OK);
	flip(r->img.regions[0].data_offset + 1299 * RF_PAGE_SIZE + 4095);
	assert_int_equal(rf_image_reader_block(r, 0, 0, block), RF_OK);
	assert_int_equal(rf_image_reader_block(r, 0, 2, block), RF_ERR_VERIFY);
	/* where there is a hole, nothing is read, so nothing can be damaged */
	flip(r->img.regions[1].data_offset);
	assert_int_equal(rf_image_reader_block(r, 1, 0, block), RF_OK);
	rf_image_reader_close(&r);
	free(block);
}

static void a_file_of_another_length_is_refused(void **state)
{
	static const off_t cuts[] = {0, 1, 4095, 4096, 5000, 2 << 20, -1, 1};
	struct stat st;

	write_image();
	assert_int_equal(stat(path, &st), 0);
	for (size_t i = 0; i < COUNT_OF(cuts); i++) {
		off_t len = i < 6 ? cuts[i] : st.st_size + cuts[i];

		write_image();
		assert_int_equal(truncate(path, len), 0);
		assert_int_not_equal(reopen(), RF_OK);
	}
}

static void another_version_and_other_files_are_told_apart(void **state)
{
	write_image();
	flip(8);
	assert_int_equal(reopen(), RF_ERR_VERSION);
	flip(0);
	assert_int_equal(reopen(), RF_ERR_NOT_RAMFERRY);
	unlink(path);
	assert_int_equal(reopen(), RF_ERR_NOT_FOUND);
}

#ifdef RF_FAULTS
static int try_write(void)
{
	struct rf_image_writer *w;
	void *tokens[8];
	int rc;

	open_writer(&w);
	make_page(0, 0, page_mem);
	rf_image_writer_page(w, 0, 0, page_mem);
	rc = rf_image_writer_write(w, 0, 0, page_mem, RF_PAGE_SIZE, w);
	if (rc == RF_OK)
		rc = rf_image_io_submit(rf_image_writer_io(w));
	while (rc == RF_OK && rf_image_io_inflight(rf_image_writer_io(w)))
		rc = rf_image_io_poll(rf_image_writer_io(w), tokens, 8) < 0 ? RF_ERR_SYSTEM : RF_OK;
	if (rc == RF_OK)
		rc = rf_image_writer_finish(w);
	assert_true(rf_image_writer_close(&w));
	return rc;
}

static void every_failing_write_is_told(void **state)
{
	for (unsigned long n = 1;; n++) {
		int rc;

		unlink(path);
		rf_fault_arm(n);
		rc = try_write();
		if (!rf_fault_fired()) {
			assert_int_equal(rc, RF_OK);
			assert_true(n > 3);
			break;
		}
		assert_int_equal(rc, RF_ERR_SYSTEM);
		assert_int_equal(count_files(), 0);
	}
	rf_fault_arm(0);
}
#endif

static int set_up(void **state)
{
	rf_log_set_level(RF_LOG_NONE); /* hundreds of refusals */
	page_mem = aligned_alloc(RF_PAGE_SIZE, RF_PAGE_SIZE);
	if (!page_mem || !mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/image", dir);
	return 0;
}

static int tear_down(void **state)
{
	unlink(path);
	free(page_mem);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_again),
		cmocka_unit_test(what_is_not_finished_leaves_nothing),
		cmocka_unit_test(a_file_of_that_name_is_replaced_at_the_end),
		cmocka_unit_test(places_that_cannot_be_written_are_named),
		cmocka_unit_test(a_damaged_file_is_refused),
		cmocka_unit_test(a_damaged_page_fails_its_block_alone),
		cmocka_unit_test(a_file_of_another_length_is_refused),
		cmocka_unit_test(another_version_and_other_files_are_told_apart),
#ifdef RF_FAULTS
		cmocka_unit_test(every_failing_write_is_told),
#endif
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
