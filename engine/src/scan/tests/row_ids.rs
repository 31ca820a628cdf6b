//! Row ids: in these files column `a` is the row's position.

use super::*;

impl Fixture {
    /// Reads rows with their ids, directly and as a worker does: there are as many as in
    /// memory, and each is at the position that the file has it at.
    async fn check_row_ids(&self, condition: &str) -> usize {
        let plain = format!("SELECT a FROM plain WHERE {condition}");
        let expected = self.run(self.plan(&plain).await).await.len();
        let ids = format!("SELECT \"$row_file\", a, \"$row_pos\" FROM ids WHERE {condition}");
        let plan = self.plan(&ids).await;
        let found = self.run(Arc::clone(&plan)).await;
        let distinct: std::collections::BTreeSet<&String> = found.iter().collect();
        assert_eq!(distinct.len(), expected, "{condition}");
        assert_eq!(found.len(), expected, "{condition}");
        for row in &found {
            let cells: Vec<&str> = row.split('|').collect();
            assert_eq!(cells[1], cells[2], "{condition}: {row}");
        }
        let decoded = self.travel(plan);
        assert_eq!(self.run(decoded).await, found, "decoded: {condition}");
        // Without the table's columns, which is what counting deletes reads.
        let alone = format!("SELECT \"$row_pos\", \"$row_file\" FROM ids WHERE {condition}");
        let plan = self.plan(&alone).await;
        assert_eq!(self.run(Arc::clone(&plan)).await.len(), expected);
        assert_eq!(self.run(self.travel(plan)).await.len(), expected);
        expected
    }
}

#[tokio::test]
async fn positions_are_those_in_the_file_however_it_is_read() {
    let styles = [
        DeleteStyle::Positions,
        DeleteStyle::Vector,
        DeleteStyle::Equality,
        DeleteStyle::None,
    ];
    for style in styles {
        let deleted: Vec<usize> = (0..700).filter(|row| row % 7 == 3 || *row < 90).collect();
        let contents = [
            FileContent::new(0, 900, style, &deleted),
            FileContent::new(1, 500, DeleteStyle::None, &[]),
            FileContent::new(2, 300, style, &deleted[..100]),
        ];
        for filter_while_scanning in [false, true] {
            for partitions in [1, 5] {
                let config = options(partitions, filter_while_scanning);
                let fixture = fixture(&contents, config).await;
                let all = fixture.check_row_ids("true").await;
                assert_eq!(all, fixture.rows, "{style:?}");
                assert!(fixture.check_row_ids("a >= 250 AND a < 260").await > 0);
                assert!(fixture.check_row_ids("bb = 'b7' OR c > 100.0").await > 0);
                assert!(fixture.check_row_ids("a % 13 = 4").await > 0);
            }
        }
    }
}

#[tokio::test]
async fn a_predicate_on_row_ids_is_evaluated() {
    let contents = [
        FileContent::new(0, 200, DeleteStyle::Positions, &[3, 4, 5]),
        FileContent::new(1, 100, DeleteStyle::None, &[]),
    ];
    let fixture = fixture(&contents, options(3, true)).await;
    let sql = "SELECT a FROM ids WHERE \"$row_pos\" IN (2, 3, 7) AND \"$row_file\" = 0";
    let plan = fixture.plan(sql).await;
    assert_eq!(fixture.run(Arc::clone(&plan)).await, ["2", "7"]);
    assert_eq!(fixture.run(fixture.travel(plan)).await, ["2", "7"]);
}
