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
	bool direct;
};

static int open_file(void *self)
{
	struct file_sink *f = self;
	int rc = rf_image_writer_open(f->path, &f->writer);

	if (rc == RF_OK)
		f->direct = rf_image_io_direct(rf_image_writer_io(f->writer));
	return rc;
}

static int begin_file(void *self, const struct rf_region *regions, unsigned n, const void *state,
		      size_t state_len)
{
	return rf_image_writer_begin(((struct file_sink *)self)->writer, regions, n, state,
				     state_len);
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

static void absent_file(void *self, unsigned region, uint64_t page)
{
	rf_image_writer_absent(((struct file_sink *)self)->writer, region, page, 1);
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

static uint64_t size_file(void *self)
{
	return rf_image_writer_len(((struct file_sink *)self)->writer);
}

static int commit_file(void *self)
{
	return rf_image_writer_finish(((struct file_sink *)self)->writer);
}

static bool close_file(void *self)
{
	return rf_image_writer_close(&((struct file_sink *)self)->writer);
}

static const struct rf_snap_sink_ops file_ops = {
	.open = open_file,
	.begin = begin_file,
	.write = write_file,
	.absent = absent_file,
	.touched = touched_file,
	.submit = submit_file,
	.poll = poll_file,
	.fd = fd_file,
	.size = size_file,
	.commit = commit_file,
	.close = close_file,
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

bool rf_snap_file_direct(const struct rf_snap_sink *sink)
{
	return sink->ops == &file_ops && ((struct file_sink *)sink->self)->direct;
}

void rf_snap_file_delete(struct rf_snap_sink *sink)
{
	struct file_sink *f = sink->ops == &file_ops ? sink->self : NULL;

	if (f)
		free(f->path);
	free(f);
	*sink = (struct rf_snap_sink){0};
}
