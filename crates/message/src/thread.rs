//! Threads: ORDEREDSUBJECT and REFERENCES (RFC 5256 §3), and REFS, which is REFERENCES without subjects, ordered by the youngest message.
//!
//! No recursion; and what a message costs in memory is little more than its subject.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::LazyLock;

/// Deeper a thread does not grow: what would be below is a thread of its own.
pub const MAX_THREAD: usize = 1000;
/// Of longer References fields the last ones are used, which are the nearest ancestors.
const MAX_REFERENCES: usize = 100;

/// So many steps a forest of `n` messages may take to find out that a link makes no loop. Mail in order needs next to none.
fn most_steps(n: usize) -> usize {
    64 * n + 1_000_000
}

/// Stands for a message id. Nobody outside can make two ids that stand for the same: the key is this process's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(u64);

impl Id {
    pub fn of(id: &str) -> Id {
        static KEY: LazyLock<std::hash::RandomState> = LazyLock::new(Default::default);
        Id(KEY.hash_one(id))
    }
}

/// What is known of a message.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// Seconds since 1970 (RFC 5256 §2.2).
    pub sent: i64,
    /// When it came, seconds since 1970; for REFS.
    pub arrived: i64,
    /// The base subject as it is compared.
    pub subject: String,
    pub is_reply: bool,
    pub id: Option<Id>,
    /// Oldest ancestor first.
    pub references: Box<[Id]>,
}

/// Threads as trees in one table.
#[derive(Debug, Default)]
pub struct Forest {
    nodes: Vec<Node>,
    pub roots: Vec<usize>,
    /// What is left of [`most_steps`].
    steps: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// Index of the item; `None` for a message that is not there.
    message: Option<usize>,
    /// Only until the children are known, as `is_parent`.
    parent: Option<usize>,
    is_parent: bool,
    children: Vec<usize>,
}

impl Forest {
    /// Writes the threads as `thread-list`s; `number` tells what stands for an item.
    pub fn write(&self, out: &mut Vec<u8>, mut number: impl FnMut(usize) -> u32) {
        enum Work {
            Open(usize),
            Close,
        }
        let mut work: Vec<Work> = self.roots.iter().rev().map(|root| Work::Open(*root)).collect();
        while let Some(next) = work.pop() {
            let Work::Open(mut at) = next else {
                out.push(b')');
                continue;
            };
            out.push(b'(');
            let mut first = true;
            loop {
                let node = &self.nodes[at];
                if let Some(item) = node.message {
                    if !std::mem::take(&mut first) {
                        out.push(b' ');
                    }
                    out.extend_from_slice(number(item).to_string().as_bytes());
                }
                match node.children.as_slice() {
                    [] => {
                        out.push(b')');
                        break;
                    }
                    [only] => at = *only,
                    several => {
                        if !first {
                            out.push(b' ');
                        }
                        work.push(Work::Close);
                        work.extend(several.iter().rev().map(|child| Work::Open(*child)));
                        break;
                    }
                }
            }
        }
    }

    /// The items of each thread, those above before those below.
    pub fn threads(&self) -> impl Iterator<Item = Vec<usize>> {
        self.roots.iter().map(|root| self.downwards(&[*root]).into_iter().filter_map(|at| self.nodes[at].message).collect())
    }

    fn add(&mut self, message: Option<usize>) -> usize {
        self.nodes.push(Node { message, ..Node::default() });
        self.nodes.len() - 1
    }

    /// Makes `parent` the parent of `child`, unless that made a loop, or it took too long to tell.
    fn link(&mut self, parent: usize, child: usize) {
        let mut above = Some(parent);
        // Below what has nothing below it nothing else can be.
        while let Some(at) = above.filter(|_| parent == child || self.nodes[child].is_parent) {
            if at == child || self.steps == 0 {
                return;
            }
            self.steps -= 1;
            above = self.nodes[at].parent;
        }
        self.nodes[child].parent = Some(parent);
        self.nodes[parent].is_parent = true;
    }

    /// Once all parents are known: their children, and the roots. What is too deep is a root.
    fn turn_around(&mut self) {
        for at in 0..self.nodes.len() {
            match self.nodes[at].parent {
                Some(parent) => self.nodes[parent].children.push(at),
                None => self.roots.push(at),
            }
        }
        let mut all = self.roots.clone();
        let mut depth = vec![1; self.nodes.len()];
        let mut next = 0;
        while let Some(&at) = all.get(next) {
            next += 1;
            let below = all.len();
            all.extend_from_slice(&self.nodes[at].children);
            if depth[at] == MAX_THREAD {
                self.roots.append(&mut self.nodes[at].children);
            } else {
                all[below..].iter().for_each(|child| depth[*child] = depth[at] + 1);
            }
        }
    }

    /// Every node below `start`, parents before children.
    fn downwards(&self, start: &[usize]) -> Vec<usize> {
        let mut all = start.to_vec();
        let mut next = 0;
        while next < all.len() {
            all.extend_from_slice(&self.nodes[all[next]].children);
            next += 1;
        }
        all
    }

    /// The message of a node, or of its first child where it is a dummy.
    fn first_message(&self, at: usize) -> Option<usize> {
        let node = &self.nodes[at];
        node.message.or_else(|| node.children.first().and_then(|child| self.nodes[*child].message))
    }
}

/// Sorted by subject and date; a thread is what has the same subject (RFC 5256 §3).
pub fn ordered_subject(items: &[Item]) -> Forest {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by(|a, b| (&items[*a].subject, items[*a].sent, a).cmp(&(&items[*b].subject, items[*b].sent, b)));
    let mut forest = Forest::default();
    for item in order {
        let node = forest.add(Some(item));
        let root = forest
            .roots
            .last()
            .copied()
            .filter(|root| forest.nodes[*root].message.is_some_and(|first| items[first].subject == items[item].subject));
        match root {
            Some(root) => forest.nodes[root].children.push(node),
            None => forest.roots.push(node),
        }
    }
    let Forest { nodes, roots, .. } = &mut forest;
    roots.sort_by_key(|root| nodes[*root].message.map(|item| (items[item].sent, item)));
    forest
}

/// By ancestry, and by subject where that says nothing (RFC 5256 §3).
pub fn references(items: &[Item]) -> Forest {
    let mut forest = ancestry(items);
    sort_siblings(&mut forest, items);
    gather_subjects(&mut forest, items);
    sort_siblings(&mut forest, items);
    forest
}

/// By ancestry alone; the thread that something came to last stands last.
pub fn refs(items: &[Item]) -> Forest {
    let mut forest = ancestry(items);
    sort_siblings(&mut forest, items);
    let mut youngest: HashMap<usize, (i64, usize)> = HashMap::new();
    for root in forest.roots.clone() {
        let below = forest.downwards(&[root]);
        let last = below.iter().filter_map(|at| forest.nodes[*at].message).map(|item| (items[item].arrived, item)).max();
        youngest.insert(root, last.unwrap_or_default());
    }
    forest.roots.sort_by_key(|root| youngest[root]);
    forest
}

/// Steps 1 to 3.
fn ancestry(items: &[Item]) -> Forest {
    let mut forest = Forest { steps: most_steps(items.len()), ..Forest::default() };
    let mut by_id: HashMap<Id, usize> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        let node = forest.add(Some(at));
        // A second message with the id has one that nobody refers to.
        if let Some(id) = item.id {
            by_id.entry(id).or_insert(node);
        }
    }
    for (node, item) in items.iter().enumerate() {
        let mut before = None;
        for id in &item.references[item.references.len().saturating_sub(MAX_REFERENCES)..] {
            let this = *by_id.entry(*id).or_insert_with(|| forest.add(None));
            if let Some(parent) = before
                && forest.nodes[this].parent.is_none()
            {
                forest.link(parent, this);
            }
            before = Some(this);
        }
        // What is known before may come from a References field that was cut.
        if forest.nodes[node].parent != before {
            forest.nodes[node].parent = None;
            if let Some(parent) = before {
                forest.link(parent, node);
            }
        }
    }
    forest.turn_around();
    prune(&mut forest);
    forest
}

/// Step 3: messages that are not there go, and their children take their place; but no two become roots that way.
fn prune(forest: &mut Forest) {
    // The nearest node above that stays; each message moves once, however many dummies it has above it.
    let mut home = vec![None; forest.nodes.len()];
    for at in forest.downwards(&forest.roots) {
        let here = match forest.nodes[at].message {
            Some(_) => at,
            None => home[at].unwrap_or(at),
        };
        for child in std::mem::take(&mut forest.nodes[at].children) {
            home[child] = Some(here);
            if forest.nodes[child].message.is_some() {
                forest.nodes[here].children.push(child);
            }
        }
    }
    let roots = std::mem::take(&mut forest.roots);
    forest.roots = roots
        .into_iter()
        .filter_map(|root| match (forest.nodes[root].message, forest.nodes[root].children.as_slice()) {
            (None, []) => None,
            (None, [only]) => Some(*only),
            _ => Some(root),
        })
        .collect();
}

/// Steps 4 and 6: the lowest first, so that a dummy has its first child by then.
fn sort_siblings(forest: &mut Forest, items: &[Item]) {
    for at in forest.downwards(&forest.roots).into_iter().rev() {
        let mut children = std::mem::take(&mut forest.nodes[at].children);
        children.sort_by_key(|child| sent(forest, items, *child));
        forest.nodes[at].children = children;
    }
    let mut roots = std::mem::take(&mut forest.roots);
    roots.sort_by_key(|root| sent(forest, items, *root));
    forest.roots = roots;
}

fn sent(forest: &Forest, items: &[Item], at: usize) -> (i64, usize) {
    forest.first_message(at).map_or((i64::MIN, at), |item| (items[item].sent, item))
}

/// Step 5.
fn gather_subjects(forest: &mut Forest, items: &[Item]) {
    let roots = std::mem::take(&mut forest.roots);
    let of = |forest: &Forest, at: usize| forest.first_message(at).map(|item| &items[item]).filter(|item| !item.subject.is_empty());
    let is_reply = |forest: &Forest, at: usize| forest.nodes[at].message.is_some_and(|item| items[item].is_reply);
    let mut table: HashMap<&str, usize> = HashMap::new();
    for at in &roots {
        let Some(item) = of(forest, *at) else { continue };
        let known = *table.entry(&item.subject).or_insert(*at);
        let is_dummy = |at: usize| forest.nodes[at].message.is_none();
        if !is_dummy(known) && (is_dummy(*at) || is_reply(forest, known) && !is_reply(forest, *at)) {
            table.insert(&item.subject, *at);
        }
    }
    let mut gone = vec![false; forest.nodes.len()];
    let mut added = Vec::new();
    for at in &roots {
        let Some(item) = of(forest, *at) else { continue };
        let other = table[item.subject.as_str()];
        if other == *at {
            continue;
        }
        gone[*at] = true;
        match (forest.nodes[other].message, forest.nodes[*at].message) {
            (None, None) => {
                let mut children = std::mem::take(&mut forest.nodes[*at].children);
                forest.nodes[other].children.append(&mut children);
            }
            (None, Some(_)) => forest.nodes[other].children.push(*at),
            (Some(_), _) if is_reply(forest, *at) && !is_reply(forest, other) => forest.nodes[other].children.push(*at),
            _ => {
                let dummy = forest.add(None);
                forest.nodes[dummy].children = vec![other, *at];
                gone.push(false);
                gone[other] = true;
                added.push(dummy);
                table.insert(&item.subject, dummy);
            }
        }
    }
    forest.roots = roots.into_iter().chain(added).filter(|at| !gone[*at]).collect();
}

/// The message ids of a References, In-Reply-To or Message-ID field, quotes removed (RFC 5256 §3).
pub fn message_ids(value: &[u8]) -> impl Iterator<Item = String> + '_ {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let start = memchr::memchr(b'<', rest)? + 1;
            let end = start + memchr::memchr2(b'>', b'<', &rest[start..])?;
            let (inner, closed) = (&rest[start..end], rest[end] == b'>');
            rest = &rest[if closed { end + 1 } else { end }..];
            let id: Vec<u8> = inner.iter().copied().filter(|b| !b.is_ascii_whitespace() && !matches!(b, b'"' | b'\\')).collect();
            let at = memchr::memrchr(b'@', &id);
            if closed && id.len() <= 1000 && at.is_some_and(|at| at > 0 && at + 1 < id.len()) {
                return Some(String::from_utf8_lossy(&id).into_owned());
            }
        }
    })
}

/// What a message refers to: References; where that has none, the first of In-Reply-To.
pub fn ancestors(references: Option<&[u8]>, in_reply_to: Option<&[u8]>) -> Box<[Id]> {
    let mut found: Vec<String> = references.into_iter().flat_map(message_ids).collect();
    if found.is_empty() {
        found.extend(in_reply_to.and_then(|value| message_ids(value).next()));
    }
    let excess = found.len().saturating_sub(MAX_REFERENCES);
    found[excess..].iter().map(|id| Id::of(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `sent id subject references...`, one message a line; `-` for no id, `Re:` makes a reply.
    fn items(text: &str) -> Vec<Item> {
        let item = |line: &str| {
            let mut words = line.split_whitespace();
            let sent = words.next().expect("sent").parse().expect("number");
            let id = words.next().filter(|id| *id != "-").map(Id::of);
            let subject = words.next().expect("subject");
            let (subject, is_reply) = subject.strip_prefix("Re:").map_or((subject, false), |base| (base, true));
            let subject = if subject == "-" { "" } else { subject };
            Item { sent, arrived: sent, subject: subject.into(), is_reply, id, references: words.map(Id::of).collect() }
        };
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(item).collect()
    }

    fn shown(forest: &Forest) -> String {
        let mut out = Vec::new();
        forest.write(&mut out, |item| item as u32 + 1);
        String::from_utf8(out).expect("ascii")
    }

    #[test]
    fn messages_are_put_below_what_they_answer() {
        for (text, want) in [
            ("", ""),
            ("1 a x", "(1)"),
            ("1 a x\n2 b Re:x a", "(1 2)"),
            // The example of RFC 5256 section 4: 3 6 (4 23)(44 7 96).
            ("1 a x\n2 b Re:x a\n3 c Re:x a b\n4 d Re:x c\n5 e Re:x a b\n6 f Re:x e", "(1 2 (3 4)(5 6))"),
            // By date, not by number.
            ("9 a x\n1 b y", "(2)(1)"),
            ("1 a x\n9 b Re:x a\n5 c Re:x a", "(1 (3)(2))"),
            // The parent is not here.
            ("1 a x p\n2 b Re:x p", "((1)(2))"),
            ("1 a Re:x p", "(1)"),
            ("1 a x q p\n2 b Re:x q\n3 c Re:x q p", "((1)(2)(3))"),
            // Same ids, circles, oneself.
            ("1 a x\n2 a y\n3 c Re:x a", "(1 3)(2)"),
            ("1 a x b\n2 b y a", "(2 1)"),
            ("1 a x a", "(1)"),
            // A cut References field first, the whole one later.
            ("1 a x\n2 b Re:x a\n3 c Re:x b\n4 d Re:x a b c", "(1 2 3 4)"),
        ] {
            assert_eq!(shown(&references(&items(text))), want, "{text}");
        }
    }

    #[test]
    fn what_has_the_same_subject_is_gathered() {
        for (text, want) in [
            ("1 a x\n2 b Re:x", "(1 2)"),
            ("1 b Re:x\n2 a x", "(2 1)"),
            ("1 a x\n2 b x", "((1)(2))"),
            ("1 a x\n2 b x\n3 c Re:x", "((1)(2)(3))"),
            ("1 a Re:x\n2 b Re:x", "((1)(2))"),
            ("1 a -\n2 b -", "(1)(2)"),
            ("1 a x p\n2 b x p\n3 c Re:x", "((1)(2)(3))"),
            ("1 a x p\n2 b x p\n3 c x q\n4 d x q", "((1)(2)(3)(4))"),
        ] {
            assert_eq!(shown(&references(&items(text))), want, "{text}");
        }
    }

    #[test]
    fn subjects_alone_make_flat_threads() {
        assert_eq!(shown(&ordered_subject(&items("3 a x\n1 b y\n2 c x\n5 d x"))), "(2)(3 (1)(4))");
        assert_eq!(shown(&ordered_subject(&items(""))), "");
    }

    #[test]
    fn refs_stand_by_their_youngest_message() {
        let text = "1 a x\n2 b y\n3 c x\n9 d Re:x a";
        assert_eq!(shown(&refs(&items(text))), "(2)(3)(1 4)");
    }

    #[test]
    fn ids_lose_their_quotes() {
        let ids = |text: &str| message_ids(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(ids("<\"01KF8JCEOCBS0045PS\"@xxx.yyy.com>"), ["01KF8JCEOCBS0045PS@xxx.yyy.com"]);
        assert_eq!(ids("<a@b> (comment) junk<c@d><e\r\n @f> <g> <@h> <i@> <j <k@l>"), ["a@b", "c@d", "e@f", "k@l"]);
        assert_eq!(ancestors(Some(b"none"), Some(b"Ann's message <a@b> <c@d>"))[..], [Id::of("a@b")]);
        assert_eq!(ancestors(Some(b"<x@y> <z@y>"), Some(b"<a@b>"))[..], [Id::of("x@y"), Id::of("z@y")]);
    }

    fn id(n: i64) -> Id {
        Id::of(&format!("{n}@x"))
    }

    /// The messages on the longest way from a root down.
    fn depth(forest: &Forest) -> usize {
        let mut depth = vec![1; forest.nodes.len()];
        let all = forest.downwards(&forest.roots);
        for at in &all {
            forest.nodes[*at].children.iter().for_each(|child| depth[*child] = depth[*at] + 1);
        }
        all.iter().map(|at| depth[*at]).max().unwrap_or_default()
    }

    #[test]
    fn a_chain_of_100_000_is_cut_and_costs_little() {
        let chain: Vec<Item> =
            (0..100_000).map(|n| Item { sent: n, id: Some(id(n)), references: [id(n - 1)].into(), ..Item::default() }).collect();
        let backwards: Vec<Item> = chain.iter().rev().cloned().collect();
        for items in [chain, backwards] {
            for forest in [references(&items), refs(&items)] {
                assert!(forest.roots.len() >= 100 && shown(&forest).len() > 500_000);
                assert_eq!(depth(&forest), MAX_THREAD);
            }
        }
    }

    #[test]
    fn links_that_take_long_to_judge_are_not_made_for_ever() {
        // The whole chain above each of these has to be walked; those at the end are taken as they stand.
        let chain = (0..50_000).map(|n| Item { id: Some(id(n)), references: [id(n - 1)].into(), ..Item::default() });
        let heads = (0..20_000).flat_map(|n| {
            let head = |references: &[Id]| Item { references: references.into(), ..Item::default() };
            [head(&[id(-n - 10), id(-n - 1_000_000)]), head(&[id(49_000), id(-n - 10)])]
        });
        let items: Vec<Item> = chain.chain(heads).collect();
        let forest = ancestry(&items);
        assert_eq!(forest.steps, 0);
        assert_eq!(shown(&forest).split(['(', ')', ' ']).filter(|n| !n.is_empty()).count(), items.len());
    }

    #[test]
    fn a_chain_of_missing_ancestors_is_taken_out_in_one_pass() {
        // Built from its end; the messages hang below its last id.
        let segments = (0..1000).rev().map(|n| Item { references: (n * 99..=n * 99 + 99).map(id).collect(), ..Item::default() });
        let below = (0..20_000).map(|n| Item { sent: n, references: [id(99_000)].into(), ..Item::default() });
        let items: Vec<Item> = segments.chain(below).collect();
        let forest = references(&items);
        assert_eq!(shown(&forest).split(['(', ')', ' ']).filter(|n| !n.is_empty()).count(), items.len());
    }

    proptest! {
        #[test]
        fn every_message_is_shown_once(text in proptest::collection::vec((0i64..9, 0u8..9, 0u8..4, proptest::collection::vec(0u8..9, 0..4)), 0..20)) {
            let items: Vec<Item> = text.iter().map(|(sent, id, subject, references)| Item {
                sent: *sent,
                arrived: *sent,
                subject: ["", "x", "y", "z"][usize::from(*subject)].into(),
                is_reply: id % 2 == 0,
                id: (*id > 0).then(|| Id::of(&id.to_string())),
                references: references.iter().map(|id| Id::of(&id.to_string())).collect(),
            }).collect();
            for forest in [references(&items), refs(&items), ordered_subject(&items)] {
                let shown = shown(&forest);
                let mut seen: Vec<usize> = shown.split(['(', ')', ' ']).filter_map(|n| n.parse().ok()).collect();
                seen.sort_unstable();
                prop_assert_eq!(seen, (1..=items.len()).collect::<Vec<_>>(), "{}", shown);
                prop_assert_eq!(shown.matches('(').count(), shown.matches(')').count());
            }
        }
    }
}
