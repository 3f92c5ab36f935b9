//! Bugs that are planted in the server one at a time, each of which a seed must find.
//!
//! The first part is what could be wrong; the second is what once was, and the simulator has found.
//! A row's text stands in its file exactly once, or the run fails, so that none rots.

use deltaworks_mutants::mutant::Mutant;

/// All planted bugs.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        fault: "lost wake: a message is put into a ring, and its reader sleeps on",
        file: "pipeline/src/mailbox.rs",
        text: "            doorbell.ring();",
        replacement: "            let _ = doorbell;",
    },
    Mutant {
        fault: "lost wake: a mark is set, and its agent sleeps on",
        file: "pipeline/src/validation/answers.rs",
        text: "boxes.to(woken.trailing_zeros() as u16).nudge();",
        replacement: "",
    },
    Mutant {
        fault: "lost mark: its word is set, and not the summary",
        file: "pipeline/src/pending.rs",
        text: "if self.summary[place].load(Ordering::Relaxed) & bit == 0 {",
        replacement: "if false {",
    },
    Mutant {
        fault: "flag cleared early: a batch in slices no longer holds those behind it",
        file: "pipeline/src/validation/control.rs",
        text: "self.registry.documents[stall.index].flags |= STALLED;\n                self.mark_laned(stall.index);\n                stall.current",
        replacement: "self.mark_laned(stall.index);\n                stall.current",
    },
    Mutant {
        fault: "lane forgotten once it was served: what comes overtakes what waits there",
        file: "pipeline/src/validation/lanes.rs",
        text: "            self.registry.documents[place].flags |= LANED;\n        }\n    }\n\n    /// Whether the lane's",
        replacement: "        }\n    }\n\n    /// Whether the lane's",
    },
    Mutant {
        fault: "lane overtaken: a close does not wait behind the batches of a hot document",
        file: "pipeline/src/validation/control.rs",
        text: "            self.set_aside(index, Behind::Close(core, closing, reason));\n            return;",
        replacement: "",
    },
    Mutant {
        fault: "lane asleep: a core sleeps while a hot document owes for a long batch",
        file: "pipeline/src/validation/lanes.rs",
        text: "work + usize::from(!self.lanes.is_idle())",
        replacement: "work",
    },
    Mutant {
        fault: "load asleep: a core that has told itself its load does not hear it",
        file: "pipeline/src/validation/placing.rs",
        text: "work_of_lanes + 1",
        replacement: "work_of_lanes",
    },
    Mutant {
        fault: "off-by-one window: agents let go of one image too few",
        file: "pipeline/src/retirement.rs",
        text: "set_window_start(end.node);",
        replacement: "set_window_start(end.node - 1);",
    },
    Mutant {
        fault: "off-by-one end: a gap is told one image too short",
        file: "pipeline/src/propagation/retiring.rs",
        text: "(self.nodes.normalise(at), self.end_of(last));",
        replacement: "(self.nodes.normalise(at), self.end_of(last) - 1);",
    },
    Mutant {
        fault: "double ack: it is encoded twice, and its credit with it",
        file: "net/server/src/outlet.rs",
        text: "            encode_ack(ack, &mut self.control);\n            return;",
        replacement: "            encode_ack(ack, &mut self.control);\n            encode_ack(ack, &mut self.control);\n            return;",
    },
    Mutant {
        fault: "credit is given back and kept",
        file: "pipeline/src/validation/answers.rs",
        text: "credit_bytes: core::mem::take(&mut producer.credit_bytes),",
        replacement: "credit_bytes: producer.credit_bytes,",
    },
    Mutant {
        fault: "credit that was withheld is forgotten",
        file: "pipeline/src/reception/handles.rs",
        text: "handle.withheld_bytes += u64::from(ack.credit_bytes);",
        replacement: "",
    },
    Mutant {
        fault: "resend applied twice",
        file: "pipeline/src/producer.rs",
        text: "if number == self.last + 1 {",
        replacement: "if number == self.last + 1 || (number == self.last && number > self.base) {",
    },
    Mutant {
        fault: "chunk freed one answer too early: of the owners",
        file: "pipeline/src/chunk.rs",
        text: "        if chunk.missing != 0 {\n            return false;",
        replacement: "        if chunk.missing.count_ones() > 1 {\n            return false;",
    },
    Mutant {
        fault: "chunk freed one answer too early: of the agents",
        file: "pipeline/src/retirement.rs",
        text: "*missing &= !(1 << core);",
        replacement: "let _ = core; *missing = 0;",
    },
    Mutant {
        fault: "chunk retired while a descriptor is not answered",
        file: "pipeline/src/chunk.rs",
        text: "chunk.sent == chunk.answered && chunk.reservations == 0",
        replacement: "chunk.sent <= chunk.answered + 1 && chunk.reservations == 0",
    },
    Mutant {
        fault: "ordered: what waits for a full ring is overtaken",
        file: "pipeline/src/mailbox.rs",
        text: "if !waiting.is_empty() {\n            waiting.push_back(message);",
        replacement: "if ring.free_slots() == 0 {\n            waiting.push_back(message);",
    },
    Mutant {
        fault: "before: a cursor before the window moves only if it stands in the chunk itself",
        file: "pipeline/src/propagation/retiring.rs",
        text: "                if routes.concerns(self.subscriptions.peek(next).slot, worker) {\n",
        replacement: "                let at = self.nodes.normalise(self.resolve(self.subscriptions.peek(next)));
                let is_inside = at.index < crate::stream::NODES_PER_BLOCK
                    && at.block != crate::stream::NO_BLOCK
                    && self.nodes.node(at.block, at.index).range.chunk() == chunk;
                if is_inside && routes.concerns(self.subscriptions.peek(next).slot, worker) {\n",
    },
    Mutant {
        fault: "close_spill: a half-sent image stays where it is when its subscription ends",
        file: "pipeline/src/propagation.rs",
        text: "if matches!(self.outlets[session.0 as usize].half, Half::InChunk { slot: of, .. } if of == slot)",
        replacement: "if false",
    },
    Mutant {
        fault: "scan_all: an agent looks at the marks of one owner only",
        file: "pipeline/src/propagation.rs",
        text: "for home in 0..self.pending.len() {",
        replacement: "for home in 0..1 {",
    },
    Mutant {
        fault: "ack_max: merged acknowledgements keep the older number",
        file: "net/server/src/outlet.rs",
        text: "                owed.producer_sequence = ack.producer_sequence;\n",
        replacement: "",
    },
    Mutant {
        fault: "detached: nodes that an earlier retirement has passed count no more",
        file: "pipeline/src/retirement.rs",
        text: "    job.agents |= document.readers;\n",
        replacement: "    if nodes.slot(block) == slot\n        && nodes.first_node(block) + u64::from(start) >= document.window_start\n    {\n        job.agents |= document.readers;\n    }\n",
    },
    Mutant {
        fault: "a paused session is never resumed",
        file: "pipeline/src/reception.rs",
        text: "                self.paused.push_back(place);\n                continue;",
        replacement: "                continue;",
    },
    Mutant {
        fault: "a slot is used again under the same generation",
        file: "pipeline/src/registry.rs",
        text: "        document.generation = document.generation.wrapping_add(1);\n",
        replacement: "",
    },
    Mutant {
        fault: "a drop is not published to readers",
        file: "pipeline/src/validation/control.rs",
        text: "        self.registry.documents[index].flags |= GREW;\n        self.grew.push(index as u32);\n",
        replacement: "",
    },
    Mutant {
        fault: "a writer that comes back on another core is answered at the old one",
        file: "pipeline/src/registry/opening.rs",
        text: "            producer.core = core;\n",
        replacement: "",
    },
    Mutant {
        fault: "the carried beginning of a message is lost",
        file: "pipeline/src/reception/intake.rs",
        text: "                tail[..carried].copy_from_slice(bytes);\n",
        replacement: "",
    },
    Mutant {
        fault: "a subscription from a sequence starts a batch too early",
        file: "pipeline/src/registry/opening.rs",
        text: "                || memory.node(after.block, after.index).first_sequence > sequence\n",
        replacement: "                || memory.node(after.block, after.index).first_sequence >= sequence\n",
    },
    Mutant {
        fault: "control goes out in the middle of an image",
        file: "net/server/src/outlet.rs",
        text: "if is_planted(Mutant::ControlInImage) {",
        replacement: "if true {",
    },
    Mutant {
        fault: "a full socket that takes bytes again is not sent to",
        file: "net/server/src/session.rs",
        text: "if !is_planted(Mutant::NotResumed) {",
        replacement: "if false {",
    },
    Mutant {
        fault: "overload: what is missed next forgets what was missed before",
        file: "pipeline/src/propagation/overload.rs",
        text: "        if slow.missed_from == slow.missed_to {\n            slow.missed_from = from;\n        }\n",
        replacement: "        slow.missed_from = from;\n",
    },
    Mutant {
        fault: "overload: a jump to the newest image tells only what was in the window",
        file: "pipeline/src/propagation/overload.rs",
        text: "self.forget_missed(place).map_or(from_sequence, |(from, _)| from);",
        replacement: "self.forget_missed(place).map_or(from_sequence, |_| from_sequence);",
    },
    Mutant {
        fault: "overload: a handle is closed, and not told what it misses",
        file: "pipeline/src/propagation/overload.rs",
        text: "        self.tell(place, from, to, behind_bytes, port);\n        self.ended.push(",
        replacement: "        let _ = (from, to, behind_bytes, port);\n        self.ended.push(",
    },
    Mutant {
        fault: "overload: a subscription that its policy has ended is sent to",
        file: "pipeline/src/propagation.rs",
        text: "                if self.subscriptions.peek(place).is_ended {\n                    continue;\n                }\n",
        replacement: "",
    },
    Mutant {
        fault: "overload: an open that names no policy does not get its collection's",
        file: "pipeline/src/registry/opening.rs",
        text: "request.policy.unwrap_or(overload.policy)",
        replacement: "request.policy.unwrap_or_default()",
    },
    Mutant {
        fault: "conflate: an image that holds a newest value leaves the window, and is not copied",
        file: "pipeline/src/propagation/conflating.rs",
        text: "if fits && !self.is_superseded(document, at.node) {",
        replacement: "if false {",
    },
    Mutant {
        fault: "conflate: an image that the index has not seen counts as replaced",
        file: "pipeline/src/conflation.rs",
        text: "(self.first..self.next.node).contains(&node) && !self.values.contains_key(&node)",
        replacement: "!self.values.contains_key(&node)",
    },
    Mutant {
        fault: "conflate: a value without a key counts as replaced",
        file: "pipeline/src/conflation.rs",
        text: "Change::Unknown => *self.values.entry(node).or_default() += 1,",
        replacement: "Change::Unknown => {}",
    },
    Mutant {
        fault: "conflate: a copied image counts as missed, too",
        file: "pipeline/src/propagation/aside.rs",
        text: "            slow.missed_from = end_of_image(&bytes).min(slow.missed_to);\n",
        replacement: "            let _ = end_of_image(&bytes);\n",
    },
    Mutant {
        fault: "conflate: what was missed before a copied image is told again behind it",
        file: "pipeline/src/propagation/conflating.rs",
        text: "        slow.missed_from = to;\n",
        replacement: "",
    },
    // What the simulator has found.
    Mutant {
        fault: "found: a core that waits for room in a ring goes to sleep",
        file: "pipeline/src/stages.rs",
        text: "        work + usize::from(self.waits_for_room())",
        replacement: "        work",
    },
    Mutant {
        fault: "found: a touch names a block that its document has taken again",
        file: "pipeline/src/retirement.rs",
        text: "    if end.node == node {",
        replacement: "    if false {",
    },
    Mutant {
        fault: "found: credit that was owed to a writer's older handle goes to the newer",
        file: "pipeline/src/registry/opening.rs",
        text: "            if producer.flags & OWED != 0 {",
        replacement: "            if false {",
    },
    Mutant {
        fault: "found: a copied image goes before control that waits",
        file: "pipeline/src/propagation.rs",
        text: "        if let Some(place) = self.next_aside(session) {\n            return self.send_aside(session, place, port);\n        }\n",
        replacement: "        if self.next_aside(session).is_some() {\n            self.take_aside(session);\n        }\n",
    },
    Mutant {
        fault: "found: a gap from a sequence to itself is told",
        file: "pipeline/src/propagation/overload.rs",
        text: "if from >= to {",
        replacement: "if from > to {",
    },
    Mutant {
        fault: "turnstile: a session that stands in line is never read again",
        file: "pipeline/src/stages/inbox.rs",
        text: "                port.resume_reading(session);\n",
        replacement: "",
    },
    Mutant {
        fault: "turnstile: what was set aside is lost",
        file: "pipeline/src/reception/intake.rs",
        text: "        let taken = self.take_messages(id, count, around);\n        self.charge(id, 0);\n",
        replacement: "        let taken = Ok(());\n        self.charge(id, 0);\n",
    },
    Mutant {
        fault: "rounds: who has more to be sent than its share of a turn is forgotten",
        file: "pipeline/src/propagation/rounds.rs",
        text: "        // More is there to be sent: that is work, also if nothing was sent yet.\n        self.list(session, false);\n",
        replacement: "",
    },
    Mutant {
        fault: "a turn forgets this core's own messages that it has not come to",
        file: "pipeline/src/stages/inbox.rs",
        text: "        if own.is_empty() {\n            boxes.take_own(own);",
        replacement: "        own.clear();\n        if own.is_empty() {\n            boxes.take_own(own);",
    },
];
