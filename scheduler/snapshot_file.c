/* SPDX-License-Identifier: BSD-3-Clause */
/* The sink that is a file: common/image_writer.h behind the table. */
#include <stdlib.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/image_writer.h"
#include "scheduler/snapshot_sink.h"

struct file_sink {
	char *path;
	struct rf_image_writer *writer;
	const struct rf_region *regions;
	unsigned nregions;
	bool direct;
};

static int open_file(void *self, const struct rf_region *regions, unsigned n)
{
	struct file_sink *f = self;
	int rc = rf_image_writer_open(f->path, &f->writer);

	f->regions = regions;
	f->nregions = n;
	if (rc == RF_OK)
		f->direct = rf_image_io_direct(rf_image_writer_io(f->writer));
	return rc;
}

static int note_memory(void *self, void *at, uint64_t len)
{
	(void)self;
	(void)at;
	(void)len;
	return RF_OK;
}

static int begin_file(void *self, const void *state, size_t state_len)
{
	struct file_sink *f = self;

	return rf_image_writer_begin(f->writer, f->regions, f->nregions, state, state_len);
}

static void expect_file(void *self, unsigned region, uint64_t first, uint64_t n)
{
	(void)self;
	(void)region;
	(void)first;
	(void)n;
}

static int write_file(void *self, unsigned region, uint64_t first, const void *data, uint32_t n,
		      void *token)
{
	struct file_sink *f = self;
	int rc = rf_image_writer_write(f->writer, region, first, data, n * RF_PAGE_SIZE, token);

	for (uint32_t i = 0; rc == RF_OK && i < n; i++)
		rf_image_writer_page(f->writer, region, first + i,
				     (const uint8_t *)data + (uint64_t)i * RF_PAGE_SIZE);
	return rc;
}

static int absent_file(void *self, unsigned region, uint64_t page)
{
	rf_image_writer_absent(((struct file_sink *)self)->writer, region, page, 1);
	return RF_OK;
}

static void touched_file(void *self, unsigned region, uint64_t page)
{
	rf_image_writer_touched(((struct file_sink *)self)->writer, region, page);
}

static int submit_file(void *self)
{
	return rf_image_io_submit(rf_image_writer_io(((struct file_sink *)self)->writer));
}

static int poll_file(void *self, void **tokens, unsigned cap)
{
	return rf_image_io_poll(rf_image_writer_io(((struct file_sink *)self)->writer), tokens,
				cap);
}

static int fd_file(void *self)
{
	return rf_image_io_fd(rf_image_writer_io(((struct file_sink *)self)->writer));
}

static bool arm_file(void *self)
{
	(void)self;
	return true;
}

static uint64_t size_file(void *self)
{
	return rf_image_writer_len(((struct file_sink *)self)->writer);
}

static int commit_file(void *self)
{
	return rf_image_writer_finish(((struct file_sink *)self)->writer);
}

/* A file is never waited for without a limit of time but in commit, which cannot be stopped. */
static void cancel_file(void *self)
{
	(void)self;
}

static const char *why_file(void *self)
{
	(void)self;
	return NULL;
}

static void describe_file(void *self, struct rf_snapshot_stats *st)
{
	st->direct = ((struct file_sink *)self)->direct;
}

static bool close_file(void *self)
{
	return rf_image_writer_close(&((struct file_sink *)self)->writer);
}

static void destroy_file(void *self)
{
	struct file_sink *f = self;

	free(f->path);
	free(f);
}

static const struct rf_snap_sink_ops file_ops = {
	.open = open_file,
	.memory = note_memory,
	.begin = begin_file,
	.expect = expect_file,
	.write = write_file,
	.absent = absent_file,
	.touched = touched_file,
	.submit = submit_file,
	.poll = poll_file,
	.fd = fd_file,
	.arm = arm_file,
	.size = size_file,
	.commit = commit_file,
	.cancel = cancel_file,
	.why = why_file,
	.describe = describe_file,
	.close = close_file,
	.destroy = destroy_file,
};

int rf_snap_file_new(const char *path, struct rf_snap_sink *out)
{
	struct file_sink *f = calloc(1, sizeof(*f));

	if (f)
		f->path = strdup(path);
	if (!f || !f->path) {
		free(f);
		return RF_ERR_NO_MEMORY;
	}
	*out = (struct rf_snap_sink){.ops = &file_ops, .self = f};
	return RF_OK;
}
