/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device state, then the word to run, or to give a snapshot's file its name. Before the guest's
 * state is loaded the lanes are closed: from then on nobody but the guest writes into its memory.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "dest/dest.h"

static int load_guest(struct rf_dest *d)
{
	int rc;

	for (uint32_t i = 0; !d->postcopy && i < d->nregions; i++) {
		rc = d->regions[i].copied ? rf_dst_region_copy_all(&d->regions[i]) : RF_OK;
		if (rc != RF_OK)
			return rf_dest_fail(d, rc, "region %s: cannot be copied", d->regions[i].id);
	}
	rc = d->cfg.guest.load_state(d->cfg.guest_arg, d->device, d->device_len);
	if (rc != RF_OK)
		return rf_dest_fail(d, rc, "the guest does not take its device state of %llu bytes",
				    (unsigned long long)d->device_len);
	return RF_OK;
}

static int load_state(struct rf_dest *d)
{
	int rc;

	if (!d->postcopy)
		rf_dst_lanes_stop(&d->lanes);
	rc = d->save ? rf_dest_save_write(d) : load_guest(d);
	if (rc == RF_OK)
		rc = rf_dest_check(d);
	if (rc != RF_OK)
		return rc;
	d->phase = RF_DST_LOADED;
	d->word_deadline_ns = rf_now_ns(d->clock) + RF_DEST_WORD_TIMEOUT * RF_NS_PER_MS;
	return rf_dest_send(d, RF_WIRE_STATE_LOADED, NULL, 0);
}

/* It is here as a whole, and that is what the source wants to know. */
int rf_dest_take_trial(struct rf_dest *d, const struct rf_frame *f)
{
	if (rf_wire_get_trial(f->payload, f->len) != RF_OK)
		return rf_dest_malformed(d, f->type);
	return rf_dest_send(d, RF_WIRE_TRIAL_SEEN, NULL, 0);
}

int rf_dest_take_state(struct rf_dest *d, const struct rf_frame *f)
{
	struct rf_wire_state s;

	if (rf_wire_get_state(f->payload, f->len, &s) != RF_OK)
		return rf_dest_malformed(d, f->type);
	if ((d->hello.flags & RF_HELLO_VERIFY) && !d->digests_done && !d->postcopy)
		return rf_dest_fail(d, RF_ERR_PROTOCOL, "source left out the digests");
	if (!d->device) {
		d->device = malloc(s.total ? s.total : 1);
		if (!d->device)
			return rf_dest_fail(d, RF_ERR_NO_MEMORY,
					    "no memory for a device state of %llu bytes",
					    (unsigned long long)s.total);
		d->device_total = s.total;
		atomic_store(&d->device_state, s.total);
	}
	if (s.total != d->device_total || s.offset != d->device_len ||
	    s.len > d->device_total - d->device_len)
		return rf_dest_fail(d, RF_ERR_PROTOCOL, "pieces of the device state do not fit");
	memcpy(d->device + d->device_len, s.data, s.len);
	d->device_len += s.len;
	return d->device_len == d->device_total ? load_state(d) : RF_OK;
}

static int start_guest(struct rf_dest *d)
{
	int rc = d->cfg.guest.resume(d->cfg.guest_arg);

	if (rc == RF_OK)
		return RF_OK;
	if (d->hello.flags & RF_HELLO_SNAPSHOT)
		return rf_dest_fail(d, rc, "the guest cannot be started from the snapshot");
	return rf_dest_fail(d, rc,
			    "the guest cannot be started; it is lost unless it is started by hand");
}

int rf_dest_take_run(struct rf_dest *d, const struct rf_frame *f)
{
	int rc;

	if (rf_wire_get_empty(f->payload, f->len) != RF_OK)
		return rf_dest_malformed(d, f->type);
	rc = d->save ? rf_dest_save_commit(d) : start_guest(d);
	if (rc != RF_OK)
		return rc;
	d->phase = d->postcopy ? RF_DST_POSTCOPY : RF_DST_RUNNING;
	if (d->postcopy)
		rf_dest_set_state(d, RF_STATE_POSTCOPY_ACTIVE);
	/* The guest runs here whatever becomes of this message. */
	if (rf_ctrl_send(d->ctrl, RF_WIRE_RUNNING, NULL, 0) != RF_OK)
		rf_warn("dest", "the source could not be told that the guest runs here");
	return RF_OK;
}
