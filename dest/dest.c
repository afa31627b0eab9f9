/* SPDX-License-Identifier: BSD-3-Clause */
/* The public side of a destination: set-up, run from beginning to end, tear-down. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log.h"
#include "dest/dest.h"

static const char *find_fault(const struct rf_dest_cfg *c)
{
	if (c->size != sizeof(*c))
		return "size is not sizeof(struct rf_dest_cfg)";
	if (c->guest.size != sizeof(c->guest))
		return "guest.size is not sizeof(struct rf_guest_ops)";
	if (c->save && !c->save[0])
		return "save is empty";
	if (!c->save && (!c->guest.load_state || !c->guest.resume))
		return "guest.load_state or resume is missing";
	if (c->max_lanes > RF_WIRE_MAX_LANES)
		return "max_lanes is over 16";
	return NULL;
}

static void fill_defaults(struct rf_dest_cfg *c)
{
	if (!c->max_lanes)
		c->max_lanes = RF_WIRE_MAX_LANES;
	if (!c->connect_timeout)
		c->connect_timeout = 10000;
	if (!c->link_timeout)
		c->link_timeout = 10000;
}

static int make_parts(struct rf_dest *d)
{
	const struct rf_dest_cfg *c = &d->cfg;

	d->host = strdup(c->host ? c->host : "127.0.0.1");
	d->transport = strdup(c->transport ? c->transport : "auto");
	d->provider = c->provider ? strdup(c->provider) : NULL;
	d->poll_mode = strdup(c->poll_mode ? c->poll_mode : "adaptive");
	d->poll_cpus = c->poll_cpus ? strdup(c->poll_cpus) : NULL;
	d->save = c->save ? strdup(c->save) : NULL;
	d->reply = malloc(RF_WIRE_MAX_PAYLOAD);
	d->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!d->host || !d->transport || (c->provider && !d->provider) || !d->poll_mode ||
	    (c->poll_cpus && !d->poll_cpus) || (c->save && !d->save) || !d->reply ||
	    d->cancel_fd < 0) {
		rf_err_log("dest", "no memory or descriptors: %s", strerror(errno));
		return RF_ERR_NO_MEMORY;
	}
	return rf_dst_lanes_init(&d->lanes);
}

int rf_dest_new(const struct rf_dest_cfg *cfg, struct rf_dest **out)
{
	const char *fault = cfg ? find_fault(cfg) : "cfg is NULL";
	struct rf_dest *d;
	int rc;

	if (fault) {
		rf_err_log("dest", "configuration: %s", fault);
		return RF_ERR_INVALID;
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		return RF_ERR_NO_MEMORY;
	d->cfg = *cfg;
	d->clock = &rf_clock_monotonic;
	d->cancel_fd = -1;
	d->lanes.wake_fd = -1;
	fill_defaults(&d->cfg);
	pthread_mutex_init(&d->lock, NULL);
	rf_first_error_init(&d->failure, &d->lock);
	rf_state_init(&d->state, "dest");
	rc = make_parts(d);
	if (rc == RF_OK)
		rc = rf_ctrl_listen(d->host, cfg->port, &d->listener);
	if (rc != RF_OK) {
		rf_dest_delete(&d);
		return rc;
	}
	d->port = rf_ctrl_listener_port(d->listener);
	*out = d;
	return RF_OK;
}

uint16_t rf_dest_port(const struct rf_dest *d)
{
	return d->port;
}

static void describe_memory(const struct rf_dst_region *r, struct rf_dest_memory *mem)
{
	struct rf_dest_memory m = {
		.size = mem->size,
		.guest_view = r->guest_view,
		.memfd = r->copied ? -1 : r->memfd,
	};

	memcpy(mem, &m, mem->size < sizeof(m) ? mem->size : sizeof(m));
}

int rf_dest_add_region(struct rf_dest *d, const struct rf_dest_region *spec,
		       struct rf_dest_memory *mem)
{
	struct rf_dst_region *grown;
	int rc;

	if (d->ran)
		return RF_ERR_STATE;
	for (uint32_t i = 0; i < d->nregions; i++) {
		if (!strncmp(d->regions[i].id, spec->id, RF_REGION_ID_SIZE)) {
			rf_err_log("dest", "region \"%s\" is there twice", spec->id);
			return RF_ERR_INVALID;
		}
	}
	if (d->nregions == RF_MAX_REGIONS) {
		rf_err_log("dest", "more than %u regions", RF_MAX_REGIONS);
		return RF_ERR_INVALID;
	}
	grown = realloc(d->regions, (d->nregions + 1) * sizeof(*grown));
	if (!grown)
		return RF_ERR_NO_MEMORY;
	d->regions = grown;
	rc = rf_dst_region_init(&grown[d->nregions], spec);
	if (rc != RF_OK)
		return rc;
	if (mem)
		describe_memory(&grown[d->nregions], mem);
	d->nregions++;
	return RF_OK;
}

void rf_dest_set_hub(struct rf_dest *d, struct rf_mem_hub *hub)
{
	d->hub = hub;
}

void rf_dest_set_once(struct rf_dest *d)
{
	d->once = true;
}

static int receive(struct rf_dest *d)
{
	int rc;

	rf_dest_set_state(d, RF_STATE_SETUP);
	if (!d->nregions)
		return rf_dest_fail(d, RF_ERR_INVALID, "there is no region to receive");
	d->by_source = calloc(d->nregions, sizeof(struct rf_dst_region *));
	if (!d->by_source)
		return rf_dest_fail(d, RF_ERR_NO_MEMORY, "no memory for the region table");
	rc = d->save ? rf_dest_save_open(d) : RF_OK;
	if (rc == RF_OK)
		rc = rf_dest_connect(d);
	if (rc != RF_OK)
		return rc;
	atomic_store(&d->setup_ms, rf_ns_to_ms(rf_now_ns(d->clock) - d->start_ns));
	rf_dest_set_state(d, RF_STATE_ACTIVE);
	return rf_dest_serve(d);
}

/* Tells the source why, if it is still there and does not know. */
void rf_dest_say_goodbye(struct rf_dest *d, int err)
{
	struct rf_wire_status st = {.err = err};
	struct rf_wbuf b;

	if (!d->ctrl || d->peer_told || rf_ctrl_error(d->ctrl) != RF_OK)
		return;
	memcpy(st.text, d->failure.desc, sizeof(st.text));
	st.text[sizeof(st.text) - 1] = 0;
	rf_wbuf_init(&b, d->reply, RF_WIRE_MAX_PAYLOAD);
	rf_wire_put_status(&b, &st);
	(void)rf_ctrl_send(d->ctrl, RF_WIRE_ERROR, d->reply, (uint32_t)b.len);
}

/* It runs here and nowhere else, but pages of it were only at the source. */
static int report_lost(struct rf_dest *d)
{
	rf_err_log("dest", "the guest is lost: %llu of its pages were still at the source",
		   (unsigned long long)atomic_load(&d->post.remaining));
	return rf_first_error_amount_to(&d->failure, RF_ERR_GUEST_LOST);
}

static void finish(struct rf_dest *d, int err)
{
	atomic_store(&d->total_ms, rf_ns_to_ms(rf_now_ns(d->clock) - d->start_ns));
	if (err == RF_ERR_CANCELLED) {
		rf_dest_set_state(d, RF_STATE_CANCELLING);
		rf_dest_set_state(d, RF_STATE_CANCELLED);
	} else {
		rf_dest_set_state(d, err == RF_OK ? RF_STATE_COMPLETED : RF_STATE_FAILED);
	}
}

int rf_dest_run(struct rf_dest *d)
{
	int rc;

	if (d->ran)
		return RF_ERR_STATE;
	d->ran = true;
	d->start_ns = rf_now_ns(d->clock);
	rc = receive(d);
	rf_ctrl_listener_close(&d->listener);
	if (rc != RF_OK && d->phase == RF_DST_POSTCOPY)
		rc = report_lost(d);
	if (rc != RF_OK)
		rf_dest_say_goodbye(d, rc);
	rf_dest_disconnect(d);
	rf_dest_save_close(d);
	for (uint32_t i = 0; i < d->nregions && !d->post.armed; i++)
		if (d->regions[i].copied)
			rf_dst_region_drop_landing(&d->regions[i]);
	/* The guest is whole: what it has set aside as free it may use again. */
	if (rc == RF_OK && (d->hello.flags & RF_HELLO_FREE_HINTS) && d->cfg.guest.free_hint_done)
		d->cfg.guest.free_hint_done(d->cfg.guest_arg);
	finish(d, rc);
	return rc;
}

void rf_dest_cancel(struct rf_dest *d)
{
	uint64_t one = 1;

	atomic_store(&d->cancelled, true);
	if (write(d->cancel_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable all the same */
}

int rf_dest_release_memory(struct rf_dest *d, unsigned index, struct rf_dest_memory *mem)
{
	struct rf_dst_region *r;

	if (index >= d->nregions || !d->ran)
		return index >= d->nregions ? RF_ERR_INVALID : RF_ERR_STATE;
	r = &d->regions[index];
	if (!r->guest_view)
		return RF_ERR_STATE;
	describe_memory(r, mem);
	if (r->copied)
		close(r->memfd);
	r->guest_view = NULL;
	r->memfd = -1;
	return RF_OK;
}

void rf_dest_delete(struct rf_dest **dp)
{
	struct rf_dest *d = *dp;

	if (!d)
		return;
	rf_ctrl_listener_close(&d->listener);
	/* A lost guest's threads wait in this memory: unmapped, it would let them run into it. */
	for (uint32_t i = 0; i < d->nregions; i++)
		if (d->post.armed)
			rf_dst_region_abandon(&d->regions[i]);
		else
			rf_dst_region_fini(&d->regions[i]);
	free(d->regions);
	free(d->by_source);
	free(d->reply);
	free(d->copy);
	free(d->device);
	rf_dst_landed_fini(&d->landed);
	rf_dst_postcopy_fini(&d->post);
	rf_dst_lanes_fini(&d->lanes);
	if (d->cancel_fd >= 0)
		close(d->cancel_fd);
	pthread_mutex_destroy(&d->lock);
	free(d->host);
	free(d->transport);
	free(d->provider);
	free(d->poll_mode);
	free(d->poll_cpus);
	free(d->save);
	free(d);
	*dp = NULL;
}
