//! What the program of an executor that is refused has otherwise than the driver's, first things first.

use tidemill_protocol::message::ProgramPrint;

/// Names the first difference, with what to do about it. `operators` are the driver's, in words.
#[must_use]
pub fn first_difference(theirs: &ProgramPrint, ours: &ProgramPrint, operators: &[String]) -> String {
    if theirs.executable != ours.executable {
        return format!(
            "the executable (its file's hash is {:016x}, here {:016x}), so start every node from the same file",
            theirs.executable, ours.executable
        );
    }
    if theirs.partitions != ours.partitions {
        return format!(
            "the default number of partitions ({}, here {}), so start the node again: it asks the driver for it",
            theirs.partitions, ours.partitions
        );
    }
    if theirs.parameters != ours.parameters {
        return "the parameters, so start the node again: it asks the driver for them".to_owned();
    }
    let count = theirs.operators.len().max(ours.operators.len());
    match (0..count).find(|&number| theirs.operators.get(number) != ours.operators.get(number)) {
        Some(number) => match operators.get(number) {
            Some(operator) => format!(
                "line {} of the graph, here `{operator}`, so have the pipeline build the same graph on every node",
                number + 1
            ),
            None => format!(
                "line {} of the graph, which is not here, so have the pipeline build the same graph on every node",
                number + 1
            ),
        },
        None => {
            "the program id, so start every node from the same executable with the same arguments".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> ProgramPrint {
        ProgramPrint { executable: 1, partitions: 4, parameters: 2, operators: vec![10, 11, 12] }
    }

    #[test]
    fn the_first_difference_is_named_with_its_remedy() {
        let lines = ["stream-0 \"lines\"", "op-0 count", "sink-0 print"].map(str::to_owned);
        let says = |theirs: ProgramPrint| first_difference(&theirs, &ours(), &lines);
        let all = ProgramPrint { executable: 7, partitions: 7, parameters: 7, operators: vec![] };
        assert_eq!(
            says(all.clone()),
            "the executable (its file's hash is 0000000000000007, here 0000000000000001), so start every node from the \
             same file"
        );
        assert_eq!(
            says(ProgramPrint { executable: 1, ..all.clone() }),
            "the default number of partitions (7, here 4), so start the node again: it asks the driver for it"
        );
        assert_eq!(
            says(ProgramPrint { executable: 1, partitions: 4, ..all }),
            "the parameters, so start the node again: it asks the driver for them"
        );
        let graph = |operators: &[u64]| ProgramPrint { operators: operators.to_vec(), ..ours() };
        let same = "so have the pipeline build the same graph on every node";
        assert_eq!(says(graph(&[10, 99, 12])), format!("line 2 of the graph, here `op-0 count`, {same}"));
        assert_eq!(says(graph(&[10, 11])), format!("line 3 of the graph, here `sink-0 print`, {same}"));
        assert_eq!(says(graph(&[10, 11, 12, 13])), format!("line 4 of the graph, which is not here, {same}"));
        assert!(says(ours()).starts_with("the program id, "));
    }
}
