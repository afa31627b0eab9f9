/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A snapshot that goes into a file. Its memory lands as that of a guest does; when all is there
 * the file is written from the landing view:
 *
 *   device state came ─► pages, tables, flush ─► state-loaded … run ─► the name ─► running
 *
 * The source may cancel until it has told to run; until then the file has no name.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/extent.h"
#include "common/image_writer.h"
#include "common/log.h"
#include "common/zero.h"
#include "dest/dest.h"

#define PIECE_PAGES 128u
#define TOKENS	    64
#define LOOK_MS	    100
#define LOOK_STEPS  32

struct saving {
	struct rf_dest *d;
	const struct rf_dst_region *r;
	unsigned region;
	rf_zero_fn is_zero;
	unsigned steps;	  /* since the file and the source were looked at */
	uint64_t last_ns; /* a write came to its end */
	struct rf_log_capture words;
};

/* The file's errors are words until they are the destination's; those of the link are logged. */
static int look_at_source(struct saving *s)
{
	struct rf_frame f;
	int rc;

	rf_log_capture_end(&s->words);
	rc = rf_dest_recv(s->d, 0, &f);
	if (rc == RF_OK) {
		rc = rf_dest_fail(s->d, RF_ERR_PROTOCOL, "source %s sent %s where it must not",
				  rf_ctrl_peer(s->d->ctrl), rf_wire_type_str(f.type));
		rf_frame_free(&f);
	}
	rf_log_capture_begin(&s->words);
	return rc == RF_AGAIN ? RF_OK : rc;
}

/* Takes back what is written. */
static int reap(struct saving *s)
{
	struct rf_image_io *io = rf_image_writer_io(s->d->file);
	uint64_t now = rf_now_ns(s->d->clock);
	void *tokens[TOKENS];
	int n;

	do {
		n = rf_image_io_poll(io, tokens, TOKENS);
		if (n < 0)
			return n;
		if (n || !rf_image_io_inflight(io))
			s->last_ns = now;
	} while (n == TOKENS);
	if (now - s->last_ns > RF_DEST_FILE_TIMEOUT * RF_NS_PER_MS) {
		rf_err_log("dest", "%s: nothing was written for %u ms", s->d->save,
			   RF_DEST_FILE_TIMEOUT);
		return RF_ERR_TIMEOUT;
	}
	return look_at_source(s);
}

static int wait_for_file(struct saving *s)
{
	struct rf_image_io *io = rf_image_writer_io(s->d->file);
	struct pollfd p = {.fd = rf_image_io_fd(io), .events = POLLIN};
	int rc = rf_image_io_submit(io);

	if (rc != RF_OK)
		return rc;
	if (poll(&p, 1, LOOK_MS) < 0 && errno != EINTR) {
		rf_err_log("dest", "poll: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	return reap(s);
}

/* n pages, none of them zero. They stay where they are: nobody writes to them any more. */
static int write_piece(struct saving *s, uint64_t first, uint64_t n)
{
	const uint8_t *data = s->r->landing + first * RF_PAGE_SIZE;
	int rc;

	while ((rc = rf_image_writer_write(s->d->file, s->region, first, data,
					   (uint32_t)n * RF_PAGE_SIZE, s)) == RF_NO_RESOURCE) {
		rc = wait_for_file(s);
		if (rc != RF_OK)
			return rc;
	}
	for (uint64_t i = 0; rc == RF_OK && i < n; i++)
		rf_image_writer_page(s->d->file, s->region, first + i, data + i * RF_PAGE_SIZE);
	return rc;
}

/* Memory that was registered may be there and zero all the same. */
static int save_extent(void *arg, uint64_t offset, uint64_t len)
{
	struct saving *s = arg;
	struct rf_image_io *io = rf_image_writer_io(s->d->file);
	uint64_t page = offset / RF_PAGE_SIZE, end = page + len / RF_PAGE_SIZE;
	int rc = RF_OK;

	while (rc == RF_OK && page < end) {
		const uint8_t *at = s->r->landing + page * RF_PAGE_SIZE;
		uint64_t n = 0;

		while (page + n < end && n < PIECE_PAGES && !s->is_zero(at + n * RF_PAGE_SIZE))
			n++;
		if (n)
			rc = write_piece(s, page, n);
		else
			rf_image_writer_absent(s->d->file, s->region, page, 1);
		page += n ? n : 1;
		if (rc == RF_OK && ++s->steps % LOOK_STEPS == 0)
			rc = rf_image_io_submit(io);
		if (rc == RF_OK && s->steps % LOOK_STEPS == 0)
			rc = reap(s);
	}
	return rc == RF_OK ? rf_image_io_submit(io) : rc;
}

static int save_regions(struct saving *s)
{
	struct rf_dest *d = s->d;
	int rc = RF_OK;

	s->last_ns = rf_now_ns(d->clock);
	for (s->region = 0; rc == RF_OK && s->region < d->nregions; s->region++) {
		s->r = d->by_source[s->region];
		rc = rf_extent_walk_file(s->r->memfd, 0, s->r->len, save_extent, s);
		if (rc == RF_ERR_UNSUPPORTED) /* the file cannot tell holes */
			rc = save_extent(s, 0, s->r->len);
	}
	while (rc == RF_OK && rf_image_io_inflight(rf_image_writer_io(d->file)))
		rc = wait_for_file(s);
	return rc;
}

static int begin_file(struct rf_dest *d)
{
	struct rf_region *infos = calloc(d->nregions, sizeof(*infos));
	int rc;

	if (!infos)
		return RF_ERR_NO_MEMORY;
	for (uint32_t i = 0; i < d->nregions; i++) {
		const struct rf_dst_region *r = d->by_source[i];

		infos[i] = (struct rf_region){
			.size = sizeof(*infos),
			.len = r->len,
			.page_size = r->page_size,
		};
		memcpy(infos[i].id, r->id, sizeof(infos[i].id));
	}
	rc = rf_image_writer_begin(d->file, infos, d->nregions, d->device, d->device_len);
	free(infos);
	return rc;
}

static int fail_by_file(struct rf_dest *d, int rc, const struct rf_log_capture *words)
{
	return rf_dest_fail(d, rc, "the snapshot cannot be saved: %s",
			    words->text[0] ? words->text : rf_err_str(rc));
}

int rf_dest_save_open(struct rf_dest *d)
{
	struct rf_log_capture words;
	int rc;

	rf_log_capture_begin(&words);
	rc = rf_image_writer_open(d->save, &d->file);
	rf_log_capture_end(&words);
	return rc == RF_OK ? RF_OK : fail_by_file(d, rc, &words);
}

int rf_dest_save_write(struct rf_dest *d)
{
	struct saving s = {.d = d, .is_zero = rf_zero_select()};
	int rc;

	rf_log_capture_begin(&s.words);
	rc = begin_file(d);
	if (rc == RF_OK)
		rc = save_regions(&s);
	if (rc == RF_OK)
		rc = rf_image_writer_complete(d->file);
	rf_log_capture_end(&s.words);
	return rc == RF_OK ? RF_OK : fail_by_file(d, rc, &s.words);
}

int rf_dest_save_commit(struct rf_dest *d)
{
	struct rf_log_capture words;
	int rc;

	rf_log_capture_begin(&words);
	rc = rf_image_writer_finish(d->file);
	rf_log_capture_end(&words);
	return rc == RF_OK ? RF_OK : fail_by_file(d, rc, &words);
}

/* Writes that do not end read memory that the kernel holds, and nobody needs what they write. */
void rf_dest_save_close(struct rf_dest *d)
{
	(void)rf_image_writer_close(&d->file);
}
