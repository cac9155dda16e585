//! The page as a script: its code blocks that name a machine, in the order of the page.
//!
//! ````text
//!   ```sh machine=driver                    runs there, must exit 0
//!   ```sh machine=driver runs               is started there and left running; its lines are shown when the test fails
//!   ```sh machine=driver until=2 executors  is repeated until it exits 0 and prints that text
//!   ```sh machine=node-b stops              interrupts what runs there and waits for it to end with exit 0 or 130
//!   <!-- carry node-a.token from driver to node-a -->
//! ````

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run these commands on a machine.
    Commands { machine: String, mode: Mode, text: String },
    /// Carry a file from one machine to another.
    Carry { file: String, from: String, to: String },
}

/// How a block's commands are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To their end.
    Once,
    /// In the background.
    Runs,
    /// Again and again, until they print this.
    Until(String),
    /// Interrupts what runs in the background.
    Stops,
}

/// The steps of a page.
///
/// # Panics
/// With the line, if a block or a note is not one of the forms above.
pub fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(note) = line.strip_prefix("<!-- carry ") {
            let words: Vec<&str> = note.trim_end_matches(" -->").split(' ').collect();
            let [file, "from", from, "to", to] = words[..] else {
                panic!("line {}: not `carry FILE from MACHINE to MACHINE`: {line}", number + 1)
            };
            steps.push(Step::Carry { file: file.into(), from: from.into(), to: to.into() });
        } else if let Some(head) = line.strip_prefix("```sh machine=") {
            let (machine, rest) = head.split_once(' ').unwrap_or((head, ""));
            let mode = match rest {
                "" => Mode::Once,
                "runs" => Mode::Runs,
                "stops" => Mode::Stops,
                until => match until.strip_prefix("until=") {
                    Some(text) => Mode::Until(text.into()),
                    None => panic!("line {}: no such way to run a block: {rest}", number + 1),
                },
            };
            let block: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            steps.push(Step::Commands { machine: machine.into(), mode, text: block.join("\n") });
        }
    }
    steps
}

#[test]
fn blocks_and_notes_become_steps_in_the_order_of_the_page() {
    let page = "Text.\n```sh machine=driver\nls\npwd\n```\n<!-- carry t from driver to node-a -->\n```text\nls\n```\n\
                ```sh machine=node-a until=2 executors\nx\n```\n```sh machine=driver runs\ny\n```";
    let commands =
        |machine: &str, mode, text: &str| Step::Commands { machine: machine.into(), mode, text: text.into() };
    assert_eq!(
        steps(page),
        [
            commands("driver", Mode::Once, "ls\npwd"),
            Step::Carry { file: "t".into(), from: "driver".into(), to: "node-a".into() },
            commands("node-a", Mode::Until("2 executors".into()), "x"),
            commands("driver", Mode::Runs, "y"),
        ]
    );
}
